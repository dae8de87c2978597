"""The options of a task: how and when it runs. An option that is not given is decided by the job type."""

import re
from datetime import UTC, datetime, timedelta
from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationInfo,
    field_validator,
)

from taskqueue.jobtypes.registry import MAX_ATTEMPTS, MAX_TIMEOUT_SECONDS
from taskqueue.jobtypes.signature import Json

MAX_DELAY_SECONDS = 366 * 86_400
MAX_TAGS = 16
MAX_PARENTS = 100
TAG = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.:-]{0,63}")
RFC_3339 = re.compile(r"\d{4}-\d\d-\d\d[Tt ]\d\d:")
LAST_SPACE = re.compile(r" (?=\d\d:\d\d$)")


def parts(value: object) -> object:
    """Return "a,b" as a list: a query parameter holds several values this way. Other values pass unchanged."""
    return value.split(",") if isinstance(value, str) else value


def _tag(value: str) -> str:
    if not TAG.fullmatch(value):
        raise ValueError("A tag is 1 to 64 letters, digits, _ . : and -, and begins with a letter or a digit")
    return value


def _once_each(values: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(values))


def _time_text(value: object) -> object:
    if isinstance(value, str):
        if not RFC_3339.match(value):
            raise ValueError("A time has the form of RFC 3339: 2026-11-24T10:43:05Z")
        return LAST_SPACE.sub("+", value)  # a + that a client did not encode in a query arrives as a space
    return value


def _callback_url(value: str) -> str:
    parsed = urlsplit(value)
    if parsed.scheme not in ("http", "https") or not parsed.hostname or not value.isascii() or " " in value:
        raise ValueError("It must be a URL that starts with https:// or http://")
    if parsed.username is not None or parsed.fragment:
        raise ValueError("It must have no user, password or #fragment")
    return value


Tags = Annotated[
    tuple[Annotated[str, AfterValidator(_tag)], ...],
    BeforeValidator(parts),
    Field(max_length=MAX_TAGS),
    AfterValidator(_once_each),
]
TaskIds = Annotated[
    tuple[Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{1,100}$")], ...],
    BeforeValidator(parts),
    Field(max_length=MAX_PARENTS),
    AfterValidator(_once_each),
]
Seconds = Annotated[float, Field(ge=0, le=MAX_DELAY_SECONDS)]
Moment = Annotated[AwareDatetime, BeforeValidator(_time_text)]


class RunOptions(BaseModel):
    """The options that say how a task runs. Raises `pydantic.ValidationError`, for a misspelt option too."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", use_attribute_docstrings=True, hide_input_in_errors=True
    )

    queue: str | None = None
    """The queue, instead of the task type's own."""
    priority: Literal["front"] | None = None
    """`front`: before all tasks that wait in its queue."""
    attempts: Annotated[int, Field(ge=1, le=MAX_ATTEMPTS)] | None = None
    """The most attempts, the first one included."""
    timeout: Annotated[int, Field(ge=1, le=MAX_TIMEOUT_SECONDS)] | None = None
    """Seconds that one attempt may take."""
    expires_in: Annotated[float, Field(gt=0, le=MAX_DELAY_SECONDS)] | None = None
    """Seconds from now: a task that has not begun by then is dropped."""
    tags: Tags = ()
    """Names to find the task by."""
    callback_url: Annotated[str, Field(max_length=2048), AfterValidator(_callback_url)] | None = None
    """A URL to call when the task has ended."""

    def expires(self, created: datetime) -> datetime | None:
        """Return when a task that was created at this time expires; None: never."""
        return created + timedelta(seconds=self.expires_in) if self.expires_in else None


class SubmitOptions(RunOptions):
    """The options of one task: how it runs, and when."""

    delay: Seconds | None = None
    """Seconds until the task may begin."""
    at: Moment | None = None
    """When the task may begin."""
    depends_on: TaskIds = ()
    """Ids of tasks that must complete first."""
    allow_failure: bool = False
    """Begin even if tasks in depends_on fail."""
    dedupe: Annotated[str, Field(min_length=1, max_length=200)] | None = None
    """A key: while a task of this type with the same key waits or runs, it is the answer, and none is queued."""

    # A validator runs only if its field is given: a plain task pays nothing.

    @field_validator("delay")
    @classmethod
    def _before_it_expires(cls, delay: float | None, info: ValidationInfo) -> float | None:
        expires_in = info.data.get("expires_in")
        if delay and expires_in and delay >= expires_in:
            raise ValueError("With this delay the task would expire (expires_in) before it may begin")
        return delay

    @field_validator("at")
    @classmethod
    def _within_a_year(cls, at: datetime | None, info: ValidationInfo) -> datetime | None:
        if at and info.data.get("delay") is not None:
            raise ValueError("delay and at exclude each other; give one of them")
        if at and at - datetime.now(UTC) > timedelta(seconds=MAX_DELAY_SECONDS):
            raise ValueError("It is more than a year away")
        return at

    @field_validator("depends_on")
    @classmethod
    def _not_also_delayed(cls, parents: tuple[str, ...], info: ValidationInfo) -> tuple[str, ...]:
        if parents and (info.data.get("delay") is not None or info.data.get("at") is not None):
            raise ValueError("A task waits for a time or for other tasks, not for both: leave out delay or at")
        return parents

    @field_validator("allow_failure")
    @classmethod
    def _of_parents(cls, allow: bool, info: ValidationInfo) -> bool:
        if allow and not info.data.get("depends_on"):
            raise ValueError("It has an effect only with depends_on, which is missing")
        return allow

    def due(self, created: datetime) -> datetime | None:
        """Return when a task that was created at this time may begin; None: at once."""
        due = created + timedelta(seconds=self.delay) if self.delay else self.at
        return due if due and due > created else None


DEFAULT_OPTIONS = SubmitOptions()
"""The options of a plain task: its job type decides everything."""


class BulkTask(SubmitOptions):
    """One task of many: its type, its payload, its options."""

    task_type: str
    payload: Json = Field(default_factory=dict)


class TaskSpec(RunOptions):
    """A task to queue later, for a schedule or at the end of a batch: it says how it runs, not when."""

    task_type: str
    payload: Json = Field(default_factory=dict)

    @property
    def options(self) -> SubmitOptions:
        """The options to submit it with."""
        return SubmitOptions(**self.model_dump(include=set(RunOptions.model_fields)))
