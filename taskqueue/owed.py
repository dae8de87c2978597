"""Callbacks of tasks whose end no script of ours has seen: settled by RQ's own code, or by a stock worker."""

from datetime import UTC, datetime
from importlib.resources import files as package_files

from redis import Redis
from rq.defaults import RQ_KEY_PREFIX
from rq.utils import utcformat

OWED = "tq:callbacks:owed"


class OwedCallbacks:
    """Looks for them, each minute at each task."""

    def __init__(self, connection: Redis) -> None:
        folder = package_files("taskqueue.scripts")
        source = "".join(folder.joinpath(name).read_text() for name in ("callback.lua", "owed.lua"))
        self._script = connection.register_script(source)

    def call_back(self, task_id: str = "") -> None:
        """Queue the callback of this task, if it has ended; without one, of all that are to be looked at now."""
        self._script(keys=[OWED], args=[RQ_KEY_PREFIX, utcformat(datetime.now(UTC)), task_id])
