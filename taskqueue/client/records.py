"""What the HTTP API answers about tasks, as objects with typed attributes. docs/api.md describes each field."""

from dataclasses import dataclass, field, fields
from datetime import datetime
from functools import cache
from types import UnionType
from typing import Any, Literal, Self, Union, get_args, get_origin, get_type_hints

Status = Literal["queued", "scheduled", "deferred", "processing", "complete", "failed", "canceled"]
ENDED: tuple[Status, ...] = ("complete", "failed", "canceled")


@dataclass(frozen=True, kw_only=True)
class Record:
    """The base of all records. `json` is the object as the API sent it, with fields that are not known here."""

    json: dict[str, Any] = field(default_factory=dict, repr=False, compare=False)

    @classmethod
    def read(cls, row: dict[str, Any]) -> Self:
        """Return the record of a JSON object. Raises KeyError, TypeError or ValueError unless it is one.

        A server of another version may have more fields, or fewer of those that have a default.
        """
        record: Any = cls
        values = {name: _value(row[name], kind) for name, kind in _types(record) if name in row}
        return cls(json=row, **values)


@cache
def _types(record: Any) -> tuple[tuple[str, Any], ...]:
    hints = get_type_hints(record)
    return tuple((each.name, hints[each.name]) for each in fields(record) if each.name != "json")


def _value(value: Any, kind: Any) -> Any:
    """Return a JSON value as its annotated type: a record, a time, a tuple of these, or the value itself."""
    if value is None:
        return None
    if get_origin(kind) in (Union, UnionType):
        kind = next(part for part in get_args(kind) if part is not type(None))
    if get_origin(kind) is tuple:
        return tuple(_value(each, get_args(kind)[0]) for each in value)
    if isinstance(kind, type) and issubclass(kind, Record):
        return kind.read(value)
    return datetime.fromisoformat(value) if kind is datetime else value


@dataclass(frozen=True, kw_only=True)
class Progress(Record):
    """How far a task is, as its job reported it last."""

    done: float
    total: float | None
    message: str
    at: datetime


@dataclass(frozen=True, kw_only=True)
class AttemptError(Record):
    """How one attempt failed."""

    type: str
    message: str
    at: datetime | None = None
    worker: str | None = None
    traceback: str = ""


@dataclass(frozen=True, kw_only=True)
class Reason(Record):
    """A reason: a code for programs, a sentence for people."""

    code: str
    message: str


@dataclass(frozen=True, kw_only=True)
class _TaskState(Record):
    """What both a task and its row in a list say."""

    id: str
    type: str
    status: Status
    attempt: int
    attempts: int
    queue: str = ""
    created_at: datetime | None = None
    started_at: datetime | None = None
    ended_at: datetime | None = None
    progress: Progress | None = None
    tags: tuple[str, ...] = ()
    worker: str | None = None
    sent_by: str | None = None

    @property
    def has_ended(self) -> bool:
        """Whether the task is complete, has failed or was canceled."""
        return self.status in ENDED


@dataclass(frozen=True, kw_only=True)
class Summary(_TaskState):
    """A task in a list: without its payload, result and tracebacks, which may be large."""

    failure: str | None = None
    group: str | None = None
    release: str | None = None


@dataclass(frozen=True, kw_only=True)
class RunError(Record):
    """The error of a run."""

    type: str
    message: str


@dataclass(frozen=True, kw_only=True)
class Run(Record):
    """One run of a task. `outcome` is None while it runs."""

    attempt: int | None = None
    started_at: datetime | None = None
    ended_at: datetime | None = None
    outcome: Literal["complete", "failed", "canceled"] | None = None
    worker: str | None = None
    release: str | None = None
    error: RunError | None = None


@dataclass(frozen=True, kw_only=True)
class Callback(Record):
    """A call of a task's `callback_url`."""

    id: str
    status: Status
    attempt: int
    attempts: int
    error: str | None = None
    scheduled_for: datetime | None = None
    ended_at: datetime | None = None


@dataclass(frozen=True, kw_only=True)
class Task(_TaskState):
    """A task, as `GET /tasks/<id>` shows it. Times are aware datetimes in UTC."""

    payload: Any = None
    scheduled_for: datetime | None = None
    result: Any = None
    error: AttemptError | None = None
    errors: tuple[AttemptError, ...] = ()
    depends_on: tuple[str, ...] = ()
    held_by_limit: bool = False
    expires_at: datetime | None = None
    runs: tuple[Run, ...] = ()
    callbacks: tuple[Callback, ...] = ()
    warnings: tuple[Reason, ...] = ()
    """Why the task may not run soon; only in the answer to its submission."""


@dataclass(frozen=True, kw_only=True)
class Parent(Record):
    """A task that another one waits for. `status` is None if it ended so long ago that it is gone."""

    id: str
    type: str | None = None
    status: Status | None = None
    result: Any = None
    error: AttemptError | None = None


@dataclass(frozen=True, kw_only=True)
class LogLine(Record):
    """A line that a job logged (`level`: INFO, …) or printed (`stdout`, `stderr`)."""

    id: str
    attempt: int
    at: datetime
    level: str
    line: str


@dataclass(frozen=True, kw_only=True)
class Event:
    """A change of a task. `line` is set if `kind` is "log", else `task`."""

    kind: Literal["status", "progress", "log"]
    task: Task | None = None
    line: LogLine | None = None


@dataclass(frozen=True, kw_only=True)
class Explanation(Record):
    """Why a task does not run, or how it ended: the most important reason first."""

    id: str
    status: Status
    reasons: tuple[Reason, ...]
    ahead: int | None = None
    seconds: float | None = None


@dataclass(frozen=True, kw_only=True)
class Batch(Record):
    """Tasks that were submitted together, counted by status."""

    id: str
    total: int
    ended: int
    progress: float
    counts: dict[str, int]
    created_at: datetime | None = None
    ended_at: datetime | None = None
    forgotten: int = 0
    on_complete: str | None = None


@dataclass(frozen=True, kw_only=True)
class Matching(Record):
    """How many tasks a bulk action would change, and the ids of some; `more`: there are more than were counted."""

    matching: int
    more: bool = False
    examples: tuple[str, ...] = ()
