"""Endpoints: what a method of an address does, declared beside its view.

The API document, the validation of the query and the check of access are made from the declaration.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NewType, TypeVar

from flask import Flask, request
from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic_core import ErrorDetails

from taskqueue.settings.api_keys import Scope
from taskqueue.web.http.problems import BadRequest

View = TypeVar("View", bound=Callable[..., Any])


Payload = NewType("Payload", dict[str, Any])
"""The type of a body that is a task's payload: its schema is that of the task type."""


class Query(BaseModel):
    """The query parameters of a view. A misspelt name is an error: it would silently have no effect."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)


@dataclass(frozen=True, kw_only=True)
class Endpoint:
    """One method of one address (an operation in OpenAPI)."""

    summary: str
    scope: Scope | None  # None: open to everybody, no key is asked for
    query: type[Query] | None
    body: Any  # a type with a JSON Schema; None: no body
    answers: Mapping[int, Any]  # by status: a type with a JSON Schema, or media types ("text/event-stream")
    problems: tuple[int, ...]  # the statuses of its problem documents
    headers: Mapping[str, str]  # the request headers that it reads, and what each is for
    change: str | None  # what it does, for the record of changes: "queue-paused"; None: it is not recorded
    by_type: bool  # it shows only the task types of the caller's key: access.caller_sees


def endpoint(
    summary: str,
    *,
    scope: Scope | None,
    answers: Mapping[int, Any],
    query: type[Query] | None = None,
    body: Any = None,
    problems: tuple[int, ...] = (),
    headers: Mapping[str, str] | None = None,
    change: str | None = None,
    by_type: bool = False,
) -> Callable[[View], View]:
    """Declare what a view does; the view itself is returned unchanged. Its docstring is the longer description.

    A key that is limited to task types may call the view if it is about one task (`<task_id>` in its address),
    about one task type (`?task_type=`), or `by_type`: the view asks `access.caller_sees`, or shows no tasks.
    """
    declared = Endpoint(
        summary=summary,
        scope=scope,
        query=query,
        body=body,
        answers=answers,
        problems=problems,
        headers=headers or {},
        change=change,
        by_type=by_type,
    )

    def declare(view: View) -> View:
        view.endpoint = declared  # type: ignore[attr-defined]  # read back by endpoint_of
        return view

    return declare


def endpoint_of(app: Flask, name: str | None) -> Endpoint | None:
    """Return what the view of this name declares; None: nothing (a page of rq-dashboard), or there is no view."""
    declared: Endpoint | None = getattr(app.view_functions.get(name or ""), "endpoint", None)
    return declared


Parameters = TypeVar("Parameters", bound=Query)


def read_query(model: type[Parameters]) -> Parameters:
    """Return the request's query parameters.

    Raises `BadRequest`, which names each parameter that is wrong and says what it should be.
    """
    given = {
        name: values if len(values) > 1 else values[0] for name, values in request.args.to_dict(flat=False).items()
    }
    try:
        return model.model_validate(given)
    except ValidationError as error:
        errors = error.errors(include_url=False, include_context=False, include_input=False)
    known = ", ".join(model.model_fields)
    for each in errors:
        if each["type"] == "extra_forbidden" and len(each["loc"]) == 1:
            detail = f"There is no parameter {each['loc'][0]!r}; the parameters are {known}."
            raise BadRequest(400, "unknown-parameter", "Unknown query parameter", detail)
    wrong = [
        {"parameter": str(each["loc"][0]) if each["loc"] else "", "message": _message(each)} for each in errors
    ]
    # An error of the parameters as a whole names none.
    detail = "; ".join(f"{each['parameter']}: {each['message']}".removeprefix(": ") for each in wrong)
    raise BadRequest(400, "invalid-parameter", "Invalid query parameter", detail, errors=wrong)


def _message(error: ErrorDetails) -> str:
    """Return the message of an error; with the field, where the parameter is JSON."""
    fields = "".join(f"{part}: " for part in error["loc"][1:] if isinstance(part, str))
    return fields + error["msg"].removeprefix("Value error, ")
