"""A Lua script of ours in Redis, called with as little work as can be: it stands in the path of each request."""

from collections.abc import Sequence
from importlib.resources import files as package_files
from typing import Any

from redis import Redis
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import NoScriptError

from taskqueue.transaction import packed

Word = str | bytes | int | float


class Script:
    """One file of taskqueue/scripts. It must be safe to send twice.

    `registered` is the same for a pipeline: `script.registered(keys=…, args=…, client=pipeline)`.
    """

    def __init__(self, connection: Redis, name: str) -> None:
        source = package_files("taskqueue.scripts").joinpath(name).read_text()
        self.registered = connection.register_script(source)
        self._pool = connection.connection_pool

    def __call__(self, keys: Sequence[str], arguments: Sequence[Word]) -> Any:
        """The script's answer. Raises the driver's errors."""
        connection = self._pool.get_connection()
        try:
            call = packed("EVALSHA", self.registered.sha, len(keys), *keys, *arguments)
            connection.send_packed_command([call])
            return connection.read_response()
        except (NoScriptError, RedisConnectionError):
            pass  # Redis has restarted, or has closed the connection: the driver's own way asks once more
        finally:
            self._pool.release(connection)
        return self.registered(keys=keys, args=arguments)
