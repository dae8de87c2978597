"""What can be said of one task besides its type and its payload. Each default is the job type's own."""

import re
from typing import Annotated

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field

from taskqueue.job_types import MAX_ATTEMPTS, MAX_TIMEOUT_SECONDS

MAX_TAGS = 16
TAG = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.:-]{0,63}")


def parts(value: object) -> object:
    """A text such as "a,b" as a list: how a query parameter says several values."""
    return value.split(",") if isinstance(value, str) else value


def _tag(value: str) -> str:
    if not TAG.fullmatch(value):
        raise ValueError("A tag is 1 to 64 letters, digits, _ . : and -, and begins with a letter or a digit")
    return value


def _once_each(values: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(values))


Tags = Annotated[
    tuple[Annotated[str, AfterValidator(_tag)], ...],
    BeforeValidator(parts),
    Field(max_length=MAX_TAGS),
    AfterValidator(_once_each),
]


class SubmitOptions(BaseModel):
    """The options of one task. Raises `pydantic.ValidationError`; one that is misspelt is an error, too."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    queue: str | None = None
    attempts: Annotated[int, Field(ge=1, le=MAX_ATTEMPTS)] | None = None  # runs, the first included
    timeout: Annotated[int, Field(ge=1, le=MAX_TIMEOUT_SECONDS)] | None = None  # seconds for one attempt
    tags: Tags = ()


ORDINARY = SubmitOptions()
