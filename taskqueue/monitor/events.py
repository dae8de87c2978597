"""Events of one task as they happen: its status, its progress, and the lines that its job logs."""

import time
from collections.abc import Iterator
from dataclasses import dataclass
from threading import Event
from typing import Literal

from taskqueue.enqueue.queue import TaskQueue
from taskqueue.errors import UnknownTask
from taskqueue.monitor.subscriptions import Subscriptions
from taskqueue.store.keys import ENDED
from taskqueue.tasks.log_lines import StoredLine
from taskqueue.tasks.task import ProgressJson, Task

SILENCE_SECONDS = 15.0  # something is sent at least so often, so that a dead connection is noticed
MAX_STREAM_SECONDS = 3600.0  # then the stream ends, and the client connects again


@dataclass(frozen=True)
class EventCursor:
    """How far a client has followed a task. As text it is the id of an event."""

    line: str = "0-0"  # the id of the last log line
    attempt: int = 0
    status: str = ""

    def __str__(self) -> str:
        return f"{self.line}/{self.attempt}/{self.status}"

    @classmethod
    def read(cls, text: str) -> "EventCursor":
        """Return the cursor of an event id that a client sent; the beginning for an id that is not valid."""
        line, _, rest = text.partition("/")
        attempt, _, status = rest.partition("/")
        parts = line.split("-")
        if len(parts) == 2 and all(part.isdecimal() and len(part) <= 18 for part in parts) and attempt.isdecimal():
            return cls(line, int(attempt[:9]), status[:20])
        return cls()


@dataclass(frozen=True)
class TaskEvent:
    """A change of a task. `silence`: nothing has changed for a while; `gone`: it was deleted or has expired."""

    kind: Literal["status", "progress", "log", "silence", "gone"]
    cursor: EventCursor
    task: Task | None = None
    line: StoredLine | None = None


def follow(
    queue: TaskQueue, subscriptions: Subscriptions, task_id: str, cursor: EventCursor
) -> Iterator[TaskEvent]:
    """Yield all events of a task after the cursor, until it has ended. Raises `QueueUnavailable`."""
    progress: ProgressJson | None = None
    end = time.monotonic() + MAX_STREAM_SECONDS
    with subscriptions.watch(task_id, Event()) as changed:
        last_event_at = time.monotonic()
        while True:
            try:
                task, lines = queue.get_with_lines(task_id, cursor.line)
            except UnknownTask:
                yield TaskEvent("gone", cursor)
                return
            for line in lines:
                cursor = EventCursor(line.id, cursor.attempt, cursor.status)
                yield TaskEvent("log", cursor, line=line)
                last_event_at = time.monotonic()
            if task.progress != progress:
                progress = task.progress
                yield TaskEvent("progress", cursor, task)
                last_event_at = time.monotonic()
            if (task.attempt, task.status) != (cursor.attempt, cursor.status):
                cursor = EventCursor(cursor.line, task.attempt, task.status)
                yield TaskEvent("status", cursor, task)
                last_event_at = time.monotonic()
            if task.status in ENDED or subscriptions.is_closed or time.monotonic() > end:
                return
            if time.monotonic() - last_event_at >= SILENCE_SECONDS:
                yield TaskEvent("silence", cursor)
                last_event_at = time.monotonic()
            changed.wait(SILENCE_SECONDS)
            changed.clear()
