"""The record of who changed what, and when: pauses, cancels, requeues, schedules, workers, releases.

A stream in Redis keeps the latest 10,000 changes. That a task was submitted is not recorded here: the task itself
shows it.
"""

import getpass
import logging
import socket
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal, cast

from redis import Redis
from redis.exceptions import RedisError

from taskqueue.store.connection import redis_errors
from taskqueue.store.keys import CHANGES, decoded
from taskqueue.telemetry.trace import current_trace

log = logging.getLogger(__name__)

MAX_CHANGES = 10_000
MAX_CHARACTERS = 500  # of a detail
STEP = 500  # changes that are read in one round trip
MAX_EXAMINED = 5_000  # changes read for one page
ANYBODY = "anybody"  # who, while the API is open

Entries = list[tuple[bytes, dict[bytes, bytes]]]
Via = Literal["http", "console", "dashboard", "command line", "worker"]


@dataclass(frozen=True, kw_only=True)
class Change:
    """Somebody has changed something."""

    id: str  # its place in the record: the next page begins below it
    at: datetime
    who: str  # the name of the API key, of the user of the command line, or of the worker
    via: str  # by which way: "http", "console", "dashboard", "command line", "worker"
    what: str  # a code: "queue-paused", "task-canceled", "worker-started", …
    target: str  # of what: a queue, the id of a task, the name of a schedule, …; "": of no single thing
    detail: str  # for people: a filter, a release, …
    task_type: str | None  # of the task or schedule that was changed; None: it was none, or of several types
    request_id: str | None


class Changes:
    """Writes and reads the record. One instance serves all threads of a process."""

    def __init__(self, connection: Redis) -> None:
        self._connection = connection

    def record(
        self, who: str, via: Via, what: str, target: str = "", detail: str = "", task_type: str = ""
    ) -> None:
        """Record a change that has been made. If Redis refuses, the log has it: the change is not undone."""
        trace = current_trace.get()
        fields: dict[Any, Any] = {
            "who": who,
            "via": via,
            "what": what,
            "target": target[:MAX_CHARACTERS],
            "detail": detail[:MAX_CHARACTERS],
            "task_type": task_type,
            "request_id": trace.request_id if trace else "",
        }
        try:
            self._connection.xadd(CHANGES, fields, maxlen=MAX_CHANGES)
        except RedisError as error:
            log.warning("Cannot record that %s (%s) changed %s, %s: %s", who, via, target, what, error)

    def page(
        self, limit: int, below: str | None = None, sees: Callable[[str], bool] | None = None
    ) -> tuple[list[Change], str | None]:
        """Return at most `limit` changes below one, latest first, and below which one the next page begins.

        `sees`: only changes of single task types for which it is true. None as the next page: this is the last.
        Raises `QueueUnavailable`.
        """
        fitting: list[Change] = []
        last = below
        for _ in range(MAX_EXAMINED // STEP):
            most = f"({last}" if last else "+"
            with redis_errors():
                entries = cast("Entries", self._connection.xrevrange(CHANGES, most, "-", STEP))
            for entry_id, fields in entries:
                change = _change(entry_id, fields)
                last = change.id
                if sees is None or (change.task_type and sees(change.task_type)):
                    fitting.append(change)
                    if len(fitting) == limit:
                        return fitting, last
            if len(entries) < STEP:
                return fitting, None
        return fitting, last

    def since(self, time: datetime, limit: int = 1000) -> list[Change]:
        """Return the latest changes from a time on, latest first. Raises `QueueUnavailable`."""
        with redis_errors():
            from_id = int(time.timestamp() * 1000)
            entries = cast("Entries", self._connection.xrevrange(CHANGES, "+", from_id, limit))
        return [_change(entry_id, fields) for entry_id, fields in entries]


def person() -> str:
    """Return who uses the command line: "ada@laptop"."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # a container's user without a name
        user = "somebody"
    return f"{user}@{socket.gethostname()}"


def _change(entry_id: bytes, fields: dict[bytes, bytes]) -> Change:
    texts = {decoded(name): decoded(value) for name, value in fields.items()}
    milliseconds = int(entry_id.partition(b"-")[0])
    return Change(
        id=decoded(entry_id),
        at=datetime.fromtimestamp(milliseconds / 1000, UTC),
        who=texts.get("who", "?"),
        via=texts.get("via", "?"),
        what=texts.get("what", "?"),
        target=texts.get("target", ""),
        detail=texts.get("detail", ""),
        task_type=texts.get("task_type") or None,
        request_id=texts.get("request_id") or None,
    )
