"""What happens to one task, as it happens: its status, its progress, and the lines that its job says."""

import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from taskqueue.enqueue.queue import TaskQueue
from taskqueue.errors import UnknownTask
from taskqueue.monitor.subscriptions import Subscriptions
from taskqueue.store.keys import ENDED
from taskqueue.tasks.log_lines import StoredLine
from taskqueue.tasks.task import ProgressJson, Task

SILENCE_SECONDS = 15.0  # something is sent at least so often, so that a dead connection is noticed
LAST_SECONDS = 3600.0  # then the stream ends; who wants more comes again


@dataclass(frozen=True)
class EventCursor:
    """How far somebody has followed a task; as text, the id of an event."""

    line: str = "0-0"  # the last line of its log
    attempt: int = 0
    status: str = ""

    def __str__(self) -> str:
        return f"{self.line}/{self.attempt}/{self.status}"

    @classmethod
    def read(cls, text: str) -> "EventCursor":
        """The event id that a client hands back; from the beginning where it is none of ours."""
        line, _, rest = text.partition("/")
        attempt, _, status = rest.partition("/")
        parts = line.split("-")
        if len(parts) == 2 and all(part.isdecimal() and len(part) <= 18 for part in parts) and attempt.isdecimal():
            return cls(line, int(attempt[:9]), status[:20])
        return cls()


@dataclass(frozen=True)
class TaskEvent:
    """One thing that happened. `silence`: nothing did, for a while; `gone`: the task is deleted or has expired."""

    kind: Literal["status", "progress", "log", "silence", "gone"]
    seen: EventCursor
    task: Task | None = None
    line: StoredLine | None = None


def follow(queue: TaskQueue, subscriptions: Subscriptions, task_id: str, seen: EventCursor) -> Iterator[TaskEvent]:
    """All that happens to a task from `seen` on, until it has ended. Raises `QueueUnavailable`."""
    progress: ProgressJson | None = None
    end = time.monotonic() + LAST_SECONDS
    with subscriptions.watch(task_id) as news:
        told_at = time.monotonic()
        while True:
            try:
                task, lines = queue.get_with_lines(task_id, seen.line)
            except UnknownTask:
                yield TaskEvent("gone", seen)
                return
            for line in lines:
                seen = EventCursor(line.id, seen.attempt, seen.status)
                yield TaskEvent("log", seen, line=line)
                told_at = time.monotonic()
            if task.progress != progress:
                progress = task.progress
                yield TaskEvent("progress", seen, task)
                told_at = time.monotonic()
            if (task.attempt, task.status) != (seen.attempt, seen.status):
                seen = EventCursor(seen.line, task.attempt, task.status)
                yield TaskEvent("status", seen, task)
                told_at = time.monotonic()
            if task.status in ENDED or subscriptions.is_closed or time.monotonic() > end:
                return
            if time.monotonic() - told_at >= SILENCE_SECONDS:
                yield TaskEvent("silence", seen)
                told_at = time.monotonic()
            news.wait(SILENCE_SECONDS)
            news.clear()
