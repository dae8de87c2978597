"""What the HTTP API answers about queues, workers, schedules, files and the rest, as objects."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from taskqueue.client.records import Record


@dataclass(frozen=True, kw_only=True)
class FailureGroup(Record):
    """Failed tasks of one type with one type of error; search for them with `group:<group>`."""

    group: str | None
    type: str
    error: str | None
    count: int
    first_failed_at: datetime | None
    last_failed_at: datetime | None
    examples: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Failures(Record):
    """The groups of failed tasks, the largest first; `complete` is false if more tasks failed than were read."""

    failures: tuple[FailureGroup, ...]
    complete: bool = True


@dataclass(frozen=True, kw_only=True)
class Queue(Record):
    """A queue; `tasks` counts its tasks by status."""

    name: str
    paused: bool
    tasks: dict[str, int]
    oldest_waiting_seconds: float = 0.0
    workers: int = 0
    drains_in_seconds: int | None = None


@dataclass(frozen=True, kw_only=True)
class TypeLimits(Record):
    """The limits of a task type as they hold now, and whether the type is paused."""

    task_type: str
    paused: bool
    concurrency: int | None = None
    rate: str | None = None
    paused_at: datetime | None = None
    changed_at: datetime | None = None
    code_concurrency: int | None = None
    code_rate: str | None = None
    running: int = 0
    held: int = 0
    next_start: datetime | None = None


@dataclass(frozen=True, kw_only=True)
class Worker(Record):
    """A worker, and the ids of the tasks that it runs."""

    name: str
    state: str
    queues: tuple[str, ...] = ()
    host: str | None = None
    pid: int | None = None
    started_at: datetime | None = None
    last_heartbeat: datetime | None = None
    horses: int = 1
    tasks: tuple[str, ...] = ()
    runs_finished: int = 0
    runs_failed: int = 0
    release: str | None = None
    memory_bytes: int | None = None


@dataclass(frozen=True, kw_only=True)
class LastRun(Record):
    """The last task that a schedule queued."""

    at: datetime | None
    task: str


@dataclass(frozen=True, kw_only=True)
class Schedule(Record):
    """A schedule, its next runs and its last run."""

    name: str
    task_type: str
    payload: Any = None
    interval: int | None = None
    cron: str | None = None
    timezone: str = "UTC"
    overlap: str = "skip"
    catch_up: str = "once"
    paused: bool = False
    next_runs: tuple[datetime, ...] = ()
    last_run: LastRun | None = None
    runs: int = 0
    skipped: int = 0
    error: str | None = None
    queue: str | None = None
    priority: str | None = None
    attempts: int | None = None
    timeout: int | None = None
    expires_in: float | None = None
    tags: tuple[str, ...] = ()
    callback_url: str | None = None
    created_at: datetime | None = None
    updated_at: datetime | None = None


@dataclass(frozen=True, kw_only=True)
class StoredFile(Record):
    """A file that was uploaded: give its `filename` to a task."""

    filename: str
    name: str
    size: int
    content_type: str
    expires_at: datetime
    task_types: tuple[str, ...] | None = None


@dataclass(frozen=True, kw_only=True)
class Change(Record):
    """Somebody has changed something."""

    id: str
    at: datetime
    who: str
    via: str
    what: str
    target: str = ""
    detail: str = ""
    task_type: str | None = None
    request_id: str | None = None


@dataclass(frozen=True, kw_only=True)
class TaskType(Record):
    """A task type, with the JSON Schemas of its payload and its result."""

    name: str
    description: str
    queue: str
    attempts: int
    timeout: int
    payload_schema: dict[str, Any]
    result_schema: dict[str, Any] | None = None
    concurrency: int | None = None
    rate: str | None = None


@dataclass(frozen=True, kw_only=True)
class Counts(Record):
    """What happened in one minute or hour that began `at`: how many tasks, and how long they took on average."""

    at: datetime
    submitted: int = 0
    begun: int = 0
    complete: int = 0
    failed: int = 0
    retried: int = 0
    canceled: int = 0
    wait_seconds: float | None = None
    run_seconds: float | None = None


@dataclass(frozen=True, kw_only=True)
class Series(Record):
    """Counts, oldest first, of the task type or queue `name`; None: of all."""

    name: str | None
    points: tuple[Counts, ...]


@dataclass(frozen=True, kw_only=True)
class SpanCounts(Record):
    """What happened in a span, in steps of so many seconds."""

    step_seconds: int
    series: tuple[Series, ...]


@dataclass(frozen=True, kw_only=True)
class Finding(Record):
    """A fact that an operator should know. `ok` is None if it cannot be seen; `fix` has a line for each step."""

    about: str
    ok: bool | None
    found: str
    fix: str = ""


@dataclass(frozen=True, kw_only=True)
class Findings(Record):
    """What the doctor has found; `ok` is false if something is wrong."""

    ok: bool
    findings: tuple[Finding, ...]
