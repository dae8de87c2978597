"""Sends thousands of commands in one MULTI … EXEC.

Each command is packed as soon as it is made: redis-py would keep all arguments, and walk through them again.
"""

from collections.abc import Sequence
from typing import Any

from hiredis import pack_command
from redis import Redis
from redis.exceptions import ResponseError


def packed(*words: "str | bytes | memoryview[int] | float") -> bytes:
    """Return a command in the form in which Redis reads it."""
    command: bytes = pack_command(words)  # type: ignore[arg-type]  # its stub knows tuples of one word only
    return command


def transact(connection: Redis, load: bytes, commands: Sequence[bytes]) -> list[Any]:
    """Send `load`, run all of the commands or none, and return their answers.

    The commands are sent only once: if the answer is lost, nobody can tell whether Redis has run them. Raises the
    first error among the answers, and the driver's errors.
    """
    wire = connection.connection_pool.get_connection()
    try:
        wire.send_packed_command([load, packed("MULTI"), *commands, packed("EXEC")])
        for _ in range(2 + len(commands)):
            wire.read_response()
        answers: list[Any] = wire.read_response()
    except BaseException:
        wire.disconnect()  # the answers that are still to come belong to no later command
        raise
    finally:
        connection.connection_pool.release(wire)
    for answer in answers:
        if isinstance(answer, ResponseError):
            raise answer
    return answers
