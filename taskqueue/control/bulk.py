"""Requeues, cancels or deletes many tasks: what each action can change, how fast, and never more than was seen."""

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Literal, get_args

from taskqueue.control.operations import Operations
from taskqueue.errors import TooManyMatch, UnknownTask, WrongStatus
from taskqueue.store.keys import Status
from taskqueue.tasks.task_filter import TaskFilter

Action = Literal["requeue", "cancel", "delete"]
ACTIONS: tuple[Action, ...] = get_args(Action)
STATUSES: dict[Action, tuple[Status, ...]] = {
    "requeue": ("failed", "canceled"),
    "cancel": ("queued", "scheduled", "deferred", "processing"),
    "delete": ("queued", "scheduled", "deferred", "complete", "failed", "canceled"),
}
"""The statuses of the tasks that an action can change."""

MAX_TASKS = 100_000  # of one action: their ids take about 10 MB


def narrowed(action: Action, wanted: TaskFilter, seen_at: datetime) -> TaskFilter | None:
    """Return the filter of the tasks that an action may change: those that were there when the caller looked.

    Without the time, tasks that fail again while they are requeued would be requeued without end. None: the action
    can change no task of the wanted statuses.
    """
    able = STATUSES[action]
    statuses = tuple(status for status in wanted.statuses or able if status in able)
    if not statuses:
        return None
    before = min(wanted.before or seen_at, seen_at)
    return replace(wanted, status=statuses, before=before, ended_until=seen_at)


def at_most(found: Iterable[Sequence[str]], most: int) -> list[str]:
    """Return these ids, each once. Raises `TooManyMatch` if there are more than `most`, and reads no further."""
    ids: dict[str, None] = {}
    for some in found:
        ids |= dict.fromkeys(some)
        if len(ids) > most:
            raise TooManyMatch(most)
    return list(ids)


def apply(
    action: Action, task_ids: Sequence[str], operations: Operations, rate: float | None = None
) -> Iterator[bool]:
    """Apply an action to each of these tasks, at most `rate` a second; yield whether each was changed.

    A task that is gone, or that others have changed meanwhile, is left alone. Raises `QueueUnavailable`.
    """
    changes: dict[Action, Callable[[str], object]] = {
        "requeue": operations.requeue,
        "cancel": operations.cancel,
        "delete": operations.delete,
    }
    began = time.monotonic()
    for number, task_id in enumerate(task_ids):
        if rate:
            time.sleep(max(0.0, began + number / rate - time.monotonic()))
        try:
            changes[action](task_id)
            yield True
        except (UnknownTask, WrongStatus):
            yield False
