"""Loads the Lua scripts in store/lua, and calls the frequent ones with little overhead."""

from collections.abc import Sequence
from importlib.resources import files as package_files
from typing import Any, NamedTuple, Protocol

from redis import Redis
from redis.commands.core import Script as RegisteredScript
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import NoScriptError, ResponseError

from taskqueue.store.shared_connection import MAX_CALL_BYTES, NotSent, SharedConnection
from taskqueue.store.transaction import packed

Word = str | bytes | int | float


def source(*names: str) -> str:
    """Return the text of these files of store/lua, in order: a file may call the functions of those before it."""
    folder = package_files("taskqueue.store").joinpath("lua")
    return "".join(folder.joinpath(f"{name}.lua").read_text() for name in names)


def register(connection: Redis, *names: str) -> RegisteredScript:
    """Return redis-py's script of these files, for calls that need no speed and for pipelines."""
    return connection.register_script(source(*names))


class ScriptCall(Protocol):
    """A call of a script."""

    @property
    def keys(self) -> Sequence[str]:
        """KEYS."""

    @property
    def arguments(self) -> Sequence[Word]:
        """ARGV."""

    def packed(self, digest: str) -> bytes:
        """Return the call in the form in which Redis reads it. `digest`: the script's name in Redis."""


class Call(NamedTuple):
    """A call of a script by its words."""

    keys: Sequence[str]
    arguments: Sequence[Word]

    def packed(self, digest: str) -> bytes:
        """Return the call in the form in which Redis reads it."""
        return packed("EVALSHA", digest, len(self.keys), *self.keys, *self.arguments)


class FastScript:
    """A script on a connection pool, called without redis-py's bookkeeping. It must be safe to send twice.

    `shared`: the connection that its calls share with others. `registered` is the script for a pipeline:
    `script.registered(keys=…, args=…, client=pipeline)`.
    """

    def __init__(self, connection: Redis, *names: str, shared: SharedConnection | None = None) -> None:
        self.registered = register(connection, *names)
        self._pool = connection.connection_pool
        self._shared = shared

    def __call__(self, call: ScriptCall) -> Any:
        """Return the script's answer. Raises the driver's errors."""
        was_lost = False
        words = call.packed(self.registered.sha)
        try:
            if self._shared and len(words) <= MAX_CALL_BYTES:
                return _one(self._shared.ask(words))
            return self._alone(words)
        except (NoScriptError, RedisConnectionError) as error:
            # Redis has restarted, or has closed the connection: redis-py's own call below tries again.
            was_lost = isinstance(error, RedisConnectionError)
        except NotSent as error:
            raise error.__cause__ or error from None
        try:
            return self.registered(keys=call.keys, args=call.arguments)
        except ResponseError as error:
            if was_lost:  # the first call may have been executed, so this error is not the whole truth
                raise RedisConnectionError(f"an answer was lost, then Redis refused: {error}") from error
            raise

    def _alone(self, words: bytes) -> Any:
        try:
            connection = self._pool.get_connection()
        except RedisConnectionError as error:
            raise NotSent from error
        try:
            connection.send_packed_command([words])
            return connection.read_response()
        finally:
            self._pool.release(connection)


def _one(answers: list[Any]) -> Any:
    """Return the only answer, or raise it."""
    if isinstance(answers[0], ResponseError):
        raise answers[0]
    return answers[0]
