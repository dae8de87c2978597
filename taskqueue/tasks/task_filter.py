"""A filter of tasks, and what a list shows of a task."""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal

from rq.utils import utcformat

from taskqueue.store.keys import STATUSES, Field, Status
from taskqueue.store.times import microseconds
from taskqueue.tasks.task import ProgressJson

Condition = tuple[str, str, str | list[str]]  # a field of a job's hash, and what it must be: select_tasks.lua
Position = tuple[int, str]  # of a task in the order: a time (microseconds since 1970), and its id


@dataclass(frozen=True, kw_only=True)
class Summary:
    """A task without its payload, result and tracebacks, which may be large."""

    id: str
    type: str
    status: Status
    queue: str
    created_at: datetime
    started_at: datetime | None
    ended_at: datetime | None
    attempt: int
    attempts: int
    progress: ProgressJson | None
    tags: tuple[str, ...]
    worker: str | None
    failure: str | None
    """Why it failed for good: the type of the error, and its message."""
    group: str | None
    """The group of its failure in `GET /failures`."""
    sent_by: str | None = None
    """The name of the API key, or of the person at the command line."""
    release: str | None = None
    """The release of the worker that began its last run."""

    @property
    def position(self) -> Position:
        """Return the position in the order of all tasks by their creation."""
        return microseconds(self.created_at), self.id

    def ran_seconds(self, now: datetime) -> float | None:
        """Return how long the last run took, or takes until now; None: it has not begun."""
        if self.started_at is None or self.status in ("queued", "scheduled", "deferred"):
            return None
        return max(0.0, ((self.ended_at or now) - self.started_at).total_seconds())


@dataclass(frozen=True, kw_only=True)
class TaskFilter:
    """A filter of tasks. An empty or missing field lets all pass; of several values, any one fits."""

    status: tuple[Status, ...] = ()
    type: tuple[str, ...] = ()
    queue: tuple[str, ...] = ()
    tag: tuple[str, ...] = ()  # all of them
    id: str | None = None  # how the id begins
    group: str | None = None  # of its failure
    worker: tuple[str, ...] = ()
    by: tuple[str, ...] = ()  # who sent it
    release: tuple[str, ...] = ()  # of its last run
    ran_over: float | None = None  # seconds
    ran_under: float | None = None
    after: datetime | None = None  # created at this time or later
    before: datetime | None = None  # created before this time
    failed_since: datetime | None = None  # failed for good at this time or later
    failed_until: datetime | None = None
    ended_until: datetime | None = None  # ended before this time, if it has ended
    order: Literal["created", "ended"] = "created"  # newest first; "ended": of one status of tasks that have ended

    @property
    def statuses(self) -> tuple[Status, ...]:
        """The statuses that tasks can have which pass: only failed ones have a group or a time of failure."""
        about_failure = self.group or self.failed_since or self.failed_until
        return ("failed",) if about_failure and not self.status else self.status

    def fits(self, task: Summary) -> bool:
        """Return whether a task passes."""
        return (
            (not self.statuses or task.status in self.statuses)
            and (not self.type or task.type in self.type)
            and (not self.queue or task.queue in self.queue)
            and all(tag in task.tags for tag in self.tag)
            and (not self.id or task.id.startswith(self.id))
            and (not self.group or task.group == self.group)
            and (not self.worker or task.worker in self.worker)
            and (not self.by or task.sent_by in self.by)
            and (not self.release or task.release in self.release)
            and self._fits_times(task)
        )

    @property
    def is_about_runs(self) -> bool:
        """Whether it asks how long a run took, which no condition can say."""
        return self.ran_over is not None or self.ran_under is not None

    def conditions(self) -> list[Condition]:
        """Return what `fits` checks, but for how long runs took, as select_tasks.lua takes it."""
        statuses = [status.value for status, shown in STATUSES.items() if shown in self.statuses]
        given: list[Condition] = [
            (field, "in", list(values))
            for field, values in (
                ("status", statuses),
                ("description", self.type),
                ("origin", self.queue),
                ("worker_name", self.worker),
                (Field.BY, self.by),
                (Field.RELEASE, self.release),
            )
            if values
        ]
        given += [(Field.TAGS, "has", tag) for tag in self.tag]
        given += [
            (field, kind, value)
            for field, kind, value in (
                ("id", "begins", self.id or ""),
                (Field.FAILURE, "begins", f"{self.group} " if self.group else ""),
                ("created_at", "from", _stored(self.after)),
                ("created_at", "below", _stored(self.before)),
                ("ended_at", "from", _stored(self.failed_since)),
                ("ended_at", "below", _stored(self.failed_until)),
                ("ended_at", "below or none", _stored(self.ended_until)),
            )
            if value
        ]
        return given

    def _fits_times(self, task: Summary) -> bool:
        ran = task.ran_seconds(datetime.now(UTC)) if self.is_about_runs else None
        ended = task.ended_at
        return (
            (self.ran_over is None or (ran is not None and ran > self.ran_over))
            and (self.ran_under is None or (ran is not None and ran < self.ran_under))
            and (self.after is None or task.created_at >= self.after)
            and (self.before is None or task.created_at < self.before)
            and (self.failed_since is None or (ended is not None and ended >= self.failed_since))
            and (self.failed_until is None or (ended is not None and ended < self.failed_until))
            and (self.ended_until is None or ended is None or ended < self.ended_until)
        )


def _stored(time: datetime | None) -> str:
    """Return a time as RQ stores it: such texts have the order of their times."""
    return utcformat(time) if time else ""
