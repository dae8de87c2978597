"""Thousands of commands in one MULTI … EXEC, packed one by one as they are made: redis-py would keep, and walk
through, all their arguments.
"""

from collections.abc import Sequence
from typing import Any

from hiredis import pack_command
from redis import Redis
from redis.exceptions import ResponseError


def packed(*words: "str | bytes | memoryview[int] | float") -> bytes:
    """One command as Redis reads it."""
    command: bytes = pack_command(words)  # type: ignore[arg-type]  # its stub knows tuples of one word only
    return command


def transact(connection: Redis, load: bytes, commands: Sequence[bytes]) -> list[Any]:
    """Send `load`, run the commands all or none, and return their answers. Raises the first error among them.

    They are sent once: where the answer is lost, nobody can tell whether Redis has run them.
    """
    wire = connection.connection_pool.get_connection()
    try:
        wire.send_packed_command([load, packed("MULTI"), *commands, packed("EXEC")])
        for _ in range(2 + len(commands)):
            wire.read_response()
        answers: list[Any] = wire.read_response()
    except BaseException:
        wire.disconnect()  # what it would answer next is nobody's answer
        raise
    finally:
        connection.connection_pool.release(wire)
    for answer in answers:
        if isinstance(answer, ResponseError):
            raise answer
    return answers
