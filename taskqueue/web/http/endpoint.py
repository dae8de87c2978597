"""What an address does, said once beside its view: the API document, the query's check and access come from it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, NewType, TypeVar

from flask import Flask, request
from pydantic import BaseModel, BeforeValidator, ConfigDict, ValidationError
from pydantic_core import ErrorDetails

from taskqueue.enqueue.options import parts
from taskqueue.settings.api_keys import Scope
from taskqueue.web.http.problems import BadRequest

View = TypeVar("View", bound=Callable[..., Any])


Payload = NewType("Payload", dict[str, Any])
"""What the payload of a task is in an address's body: it fits the task type's signature."""


class Query(BaseModel):
    """A view's query parameters. A misspelt one is an error: it would be silently without effect."""

    model_config = ConfigDict(extra="forbid")


Names = Annotated[list[str], BeforeValidator(parts)]
"""Several values of one parameter: `tag=a&tag=b`, or `tag=a,b`."""


@dataclass(frozen=True, kw_only=True)
class Operation:
    """One method of one address."""

    summary: str
    scope: Scope | None  # None: everybody, and never asked for a key
    query: type[Query] | None
    body: Any  # a type with a JSON Schema, or None: it takes no body
    answers: Mapping[int, Any]  # by status: a type with a JSON Schema, or a media type ("text/event-stream")
    problems: tuple[int, ...]  # the statuses of the problem documents that are its own
    headers: Mapping[str, str]  # the request's own headers that it reads, and what each is for
    by_type: bool  # it keeps to the job types of the caller's key: access.caller_sees


def operation(
    summary: str,
    *,
    scope: Scope | None,
    answers: Mapping[int, Any],
    query: type[Query] | None = None,
    body: Any = None,
    problems: tuple[int, ...] = (),
    headers: Mapping[str, str] | None = None,
    by_type: bool = False,
) -> Callable[[View], View]:
    """Say what a view does, and return it unchanged. Its docstring is the longer description.

    A key that is limited to job types may call it if it is about one task (`<task_id>` in its address), about one
    job type (`?task_type=`), or `by_type`: the view asks `access.caller_sees`, or shows nothing of tasks.
    """
    described = Operation(
        summary=summary,
        scope=scope,
        query=query,
        body=body,
        answers=answers,
        problems=problems,
        headers=headers or {},
        by_type=by_type,
    )

    def describe(view: View) -> View:
        view.operation = described  # type: ignore[attr-defined]  # read back by operation_of
        return view

    return describe


def operation_of(app: Flask, endpoint: str | None) -> Operation | None:
    """What the view of this endpoint does; None where it says nothing (a page of rq-dashboard, no view at all)."""
    found: Operation | None = getattr(app.view_functions.get(endpoint or ""), "operation", None)
    return found


Parameters = TypeVar("Parameters", bound=Query)


def read_query(model: type[Parameters]) -> Parameters:
    """The request's query parameters. Raises `BadRequest` that names each wrong one and what it should be."""
    given = {
        name: values if len(values) > 1 else values[0] for name, values in request.args.to_dict(flat=False).items()
    }
    try:
        return model.model_validate(given)
    except ValidationError as error:
        found = error.errors(include_url=False, include_context=False, include_input=False)
    known = ", ".join(model.model_fields)
    for one in found:
        if one["type"] == "extra_forbidden" and len(one["loc"]) == 1:
            title = "There is no such query parameter"
            raise BadRequest(400, "unknown-parameter", title, f"{one['loc'][0]!r} is none of {known}.")
    errors = [{"parameter": str(one["loc"][0]) if one["loc"] else "", "message": _message(one)} for one in found]
    # What is wrong with all of them together names no parameter.
    detail = "; ".join(f"{one['parameter']}: {one['message']}".removeprefix(": ") for one in errors)
    raise BadRequest(400, "invalid-parameter", "A query parameter is wrong", detail, errors=errors)


def _message(error: ErrorDetails) -> str:
    """What is wrong; of a parameter that is JSON also the field."""
    fields = "".join(f"{part}: " for part in error["loc"][1:] if isinstance(part, str))
    return fields + error["msg"].removeprefix("Value error, ")
