"""Loads the Lua scripts in store/lua, and calls the frequent ones with little overhead."""

from collections.abc import Sequence
from importlib.resources import files as package_files
from typing import Any

from redis import Redis
from redis.commands.core import Script as RegisteredScript
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import NoScriptError, ResponseError

from taskqueue.store.transaction import packed

Word = str | bytes | int | float


def source(*names: str) -> str:
    """Return the text of these files of store/lua, in order: a file may call the functions of those before it."""
    folder = package_files("taskqueue.store").joinpath("lua")
    return "".join(folder.joinpath(f"{name}.lua").read_text() for name in names)


def register(connection: Redis, *names: str) -> RegisteredScript:
    """Return redis-py's script of these files, for calls that need no speed and for pipelines."""
    return connection.register_script(source(*names))


class FastScript:
    """A script on a connection pool, called without redis-py's bookkeeping. It must be safe to send twice.

    `registered` is the script for a pipeline: `script.registered(keys=…, args=…, client=pipeline)`.
    """

    def __init__(self, connection: Redis, *names: str) -> None:
        self.registered = register(connection, *names)
        self._pool = connection.connection_pool

    def __call__(self, keys: Sequence[str], arguments: Sequence[Word]) -> Any:
        """Return the script's answer. Raises the driver's errors."""
        was_lost = False
        connection = self._pool.get_connection()
        try:
            call = packed("EVALSHA", self.registered.sha, len(keys), *keys, *arguments)
            connection.send_packed_command([call])
            return connection.read_response()
        except (NoScriptError, RedisConnectionError) as error:
            # Redis has restarted, or has closed the connection: redis-py's own call below tries again.
            was_lost = isinstance(error, RedisConnectionError)
        finally:
            self._pool.release(connection)
        try:
            return self.registered(keys=keys, args=arguments)
        except ResponseError as error:
            if was_lost:  # the first call may have been executed, so this error is not the whole truth
                raise RedisConnectionError(f"an answer was lost, then Redis refused: {error}") from error
            raise
