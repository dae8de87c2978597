"""The options of a task: how and when it runs. An option that is not given is decided by the job type."""

import re
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Literal
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
TAG = re.compile(r"^[A-Za-z0-9][A-Za-z0-9_.:-]{0,63}$")
CALLBACK_URL = re.compile(
    r"^[Hh][Tt][Tt][Pp][Ss]?://"
    r"([A-Za-z0-9._~%-]+|\[[0-9A-Fa-f:.]+\])(:[0-9]{1,5})?"  # a host name or an IP address, a port
    r"([/?][!\"$-~]*)?$"  # printable ASCII without #
)
RFC_3339 = re.compile(r"\d{4}-\d\d-\d\d[Tt ]\d\d:")
LAST_SPACE = re.compile(r" (?=\d\d:\d\d$)")


def parts(value: object) -> object:
    """Return "a,b" as a list: a query parameter holds several values this way. Other values pass unchanged."""
    return value.split(",") if isinstance(value, str) else value


def _tag(value: str) -> str:
    if not TAG.fullmatch(value):
        raise ValueError("A tag is 1 to 64 letters, digits, _ . : and -, and begins with a letter or a digit")
    return value


def _few_parents(values: tuple[str, ...]) -> tuple[str, ...]:
    if len(values) > MAX_PARENTS:
        raise ValueError(
            f"A task can depend on at most {MAX_PARENTS} tasks, got {len(values):,}."
            " Queue them as a batch instead, with this task as its on_complete (in Python: submit_many(…, then=…))"
        )
    return values


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
    if parsed.username is not None or parsed.fragment:
        raise ValueError("It must have no user, password or #fragment")
    if not CALLBACK_URL.fullmatch(value):
        raise ValueError("It must be a URL that starts with https:// or http://")
    return value


Tags = Annotated[
    tuple[Annotated[str, AfterValidator(_tag), Field(json_schema_extra={"pattern": TAG.pattern})], ...],
    BeforeValidator(parts),
    Field(max_length=MAX_TAGS, json_schema_extra={"maxItems": MAX_TAGS}),
    AfterValidator(_once_each),
]
TaskIds = Annotated[
    tuple[Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{1,100}$")], ...],
    BeforeValidator(parts),
    Field(json_schema_extra={"maxItems": MAX_PARENTS}),
    AfterValidator(_once_each),
    AfterValidator(_few_parents),
]
Seconds = Annotated[float, Field(ge=0, le=MAX_DELAY_SECONDS)]
Moment = Annotated[AwareDatetime, BeforeValidator(_time_text)]


def _both(**types: str) -> dict[str, Any]:
    """Return the JSON Schema of an object that has all these fields, with values of these types."""
    properties = {
        name: {"type": kind} | ({"minItems": 1} if kind == "array" else {}) for name, kind in types.items()
    }
    return {"required": list(types), "properties": properties}


class RunOptions(BaseModel):
    """The options that say how a task runs. Raises `pydantic.ValidationError`, for a misspelt option too."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", use_attribute_docstrings=True, hide_input_in_errors=True
    )

    queue: str | None = None
    """The queue, instead of the task type's own."""
    priority: Literal["front"] | None = None
    """`front`: the task runs before everything that waits in its queue."""
    attempts: Annotated[int, Field(ge=1, le=MAX_ATTEMPTS)] | None = None
    """How many times the task is tried at most, the first time included."""
    timeout: Annotated[int, Field(ge=1, le=MAX_TIMEOUT_SECONDS)] | None = None
    """How many seconds one attempt may take."""
    expires_in: Annotated[float, Field(gt=0, le=MAX_DELAY_SECONDS)] | None = None
    """How many seconds the task may wait before it begins, more than `delay`: then it is dropped."""
    tags: Tags = ()
    """Names to find the task by."""
    callback_url: (
        Annotated[
            str,
            Field(max_length=2048, json_schema_extra={"format": "uri", "pattern": CALLBACK_URL.pattern}),
            AfterValidator(_callback_url),
        ]
        | None
    ) = None
    """The URL that gets a POST when the task has ended."""

    def expires(self, created: datetime) -> datetime | None:
        """Return when a task that was created at this time expires; None: never."""
        return created + timedelta(seconds=self.expires_in) if self.expires_in else None


class SubmitOptions(RunOptions):
    """The options of one task: how it runs, and when."""

    delay: Seconds | None = None
    """How many seconds the task waits before it may begin. Not together with `at` or `depends_on`."""
    at: Moment | None = None
    """The time at which the task may begin, a year away at most. Not together with `delay` or `depends_on`."""
    depends_on: TaskIds = ()
    """The ids of tasks that must complete first. Not together with `delay` or `at`."""
    allow_failure: bool = False
    """Whether the tasks in `depends_on` may also fail. Only together with `depends_on`."""
    dedupe: Annotated[str, Field(min_length=1, max_length=200)] | None = None
    """A key: while another task of this type with this key waits or runs, that one is the answer."""

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

    model_config = ConfigDict(
        json_schema_extra={
            "not": {
                "anyOf": [
                    _both(delay="number", at="string"),
                    _both(delay="number", depends_on="array"),
                    _both(at="string", depends_on="array"),
                ]
            },
            "dependentSchemas": {
                "allow_failure": {
                    "anyOf": [
                        {"properties": {"allow_failure": {"const": False}}},
                        {"properties": {"depends_on": {"minItems": 1}}, "required": ["depends_on"]},
                    ]
                }
            },
        }
    )

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
