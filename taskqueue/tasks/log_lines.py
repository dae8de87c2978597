"""The log of a task: the lines that its job logged and printed, in a stream beside the job in Redis."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import NamedTuple, cast

from redis import Redis

from taskqueue.store.connection import redis_errors
from taskqueue.store.keys import log_key
from taskqueue.tasks.changes import publish_change

MAX_LINES = 1000  # of one task, about; Redis drops the oldest. store/lua/settle.lua has the number, too
MAX_LINE_CHARACTERS = 1000

StreamEntry = tuple[bytes, dict[bytes, bytes]]


class LogLine(NamedTuple):
    """A line that a job logged or printed."""

    at: float  # seconds since 1970
    level: str  # a level of logging, such as "INFO"; "stdout" or "stderr" for a printed line
    line: str


@dataclass(frozen=True)
class StoredLine:
    """A line of a log. `level` is INFO, … of what was logged, `stdout` or `stderr` of what was printed."""

    id: str  # its id in the stream; a later line has a greater one
    attempt: int
    at: datetime
    level: str
    line: str


def write_lines(connection: Redis, task_id: str, attempt: int, lines: Iterable[LogLine], ttl: int) -> None:
    """Add lines to a task's log, which lives for `ttl` seconds from now (-1: for ever), in one round trip.

    Raises the driver's errors.
    """
    key = log_key(task_id)
    with connection.pipeline(transaction=False) as pipeline:
        for at, level, line in lines:
            fields = {"attempt": attempt, "at": f"{at:.3f}", "level": level, "line": line}
            pipeline.xadd(key, fields, maxlen=MAX_LINES, approximate=True)  # type: ignore[arg-type]  # invariant
        if ttl < 0:
            pipeline.persist(key)
        else:
            pipeline.expire(key, ttl)
        publish_change(pipeline, task_id, "log")
        pipeline.execute()


def read_lines(connection: Redis, task_id: str, after: str = "0-0") -> list[StoredLine]:
    """Return the lines of a task after the line `after`, oldest first. Raises `QueueUnavailable`."""
    with redis_errors():
        return stored_lines(cast("list[StreamEntry]", connection.xrange(log_key(task_id), min=f"({after}")))


def stored_lines(entries: Iterable[StreamEntry]) -> list[StoredLine]:
    """Return the lines in the entries of a stream."""
    return [
        StoredLine(
            entry.decode(),
            int(line[b"attempt"]),
            datetime.fromtimestamp(float(line[b"at"]), UTC),
            line[b"level"].decode(errors="replace"),
            line[b"line"].decode(errors="replace"),
        )
        for entry, line in entries
    ]
