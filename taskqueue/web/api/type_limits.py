"""`/limits` and `/task-types/<name>/limits`: pauses of task types, and limits that are changed while tasks run."""

from dataclasses import dataclass
from functools import partial
from typing import Annotated

from flask import Blueprint, jsonify
from flask.typing import ResponseReturnValue
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from taskqueue.control.type_limits import TypeControl, TypeLimits
from taskqueue.errors import PayloadError
from taskqueue.jobtypes.limits import MAX_CONCURRENCY, RATE, Limits
from taskqueue.jobtypes.registry import JobTypes
from taskqueue.jobtypes.signature import option_errors
from taskqueue.web.api.task_types import check_known
from taskqueue.web.http.access import caller_sees
from taskqueue.web.http.body import json_body
from taskqueue.web.http.change_record import note_task_type
from taskqueue.web.http.endpoint import endpoint
from taskqueue.web.http.problems import BadRequest

MAX_BODY_BYTES = 1000


@dataclass(frozen=True)
class LimitsJson:
    """The limits of all task types, by name."""

    limits: list[TypeLimits]


class LimitsBody(BaseModel):
    """Limits of a task type. What is missing or null is not limited."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)

    concurrency: Annotated[int, Field(ge=1, le=MAX_CONCURRENCY)] | None = None
    """How many of its tasks may run at the same time."""
    rate: Annotated[str, Field(pattern=f"^{RATE.pattern}$")] | None = None
    """How many of its tasks may begin in a period: `10/minute`, at most 10,000."""


def views(control: TypeControl, job_types: JobTypes) -> Blueprint:
    """Return the views."""
    blueprint = Blueprint("type_limits", __name__)
    operates = partial(endpoint, scope="operate", answers={200: TypeLimits}, by_type=True)

    def check(name: str) -> None:
        """Raise `BadRequest` (404) unless there is such a task type that the caller sees; note it as changed."""
        check_known(name, job_types)
        note_task_type(name)

    @blueprint.get("/limits")
    @endpoint(
        "List the limits and pauses of the task types",
        scope="read",
        answers={200: LimitsJson},
        problems=(503,),
        by_type=True,
    )
    def all_limits() -> ResponseReturnValue:
        """`held` tasks were taken off their queue, and wait for a limit or a pause. They keep their order."""
        return jsonify(LimitsJson(control.all(caller_sees)))

    @blueprint.get("/task-types/<name>/limits")
    @endpoint(
        "Get the limits of a task type",
        scope="read",
        answers={200: TypeLimits},
        problems=(404, 503),
        by_type=True,
    )
    def limits(name: str) -> ResponseReturnValue:
        check(name)
        return jsonify(control.of(name))

    @blueprint.put("/task-types/<name>/limits")
    @operates(
        "Change the limits of a task type",
        change="limits-changed",
        body=LimitsBody,
        problems=(400, 404, 413, 415, 422, 503),
    )
    def change(name: str) -> ResponseReturnValue:
        """These limits hold at once instead of those of the code, until DELETE, also for workers that start later.

        What runs goes on, and counts. Held tasks begin as soon as the new limits let them.
        """
        check(name)
        wanted = _limits(json_body(MAX_BODY_BYTES))
        note_task_type(name, str(wanted))
        control.change(name, wanted)
        return jsonify(control.of(name))

    @blueprint.delete("/task-types/<name>/limits")
    @operates("Let the limits of the code hold again", change="limits-reset", problems=(404, 503))
    def reset(name: str) -> ResponseReturnValue:
        check(name)
        control.reset(name)
        return jsonify(control.of(name))

    @blueprint.post("/task-types/<name>/pause")
    @operates("Pause a task type", change="type-paused", problems=(404, 503))
    def pause(name: str) -> ResponseReturnValue:
        """Workers begin no more tasks of this type; tasks that run go on. New tasks are accepted and wait."""
        check(name)
        control.pause(name)
        return jsonify(control.of(name))

    @blueprint.post("/task-types/<name>/resume")
    @operates("Resume a task type", change="type-resumed", problems=(404, 503))
    def resume(name: str) -> ResponseReturnValue:
        """Workers begin its tasks again, in their order."""
        check(name)
        control.resume(name)
        return jsonify(control.of(name))

    return blueprint


def _limits(given: object) -> Limits:
    """Return the limits that a body names. Raises `BadRequest` (422)."""
    try:
        body = LimitsBody.model_validate(given)
        return Limits(concurrency=body.concurrency, rate=body.rate)
    except ValidationError as error:
        errors = option_errors(error)
    except ValueError as error:  # the pattern of the body lets a rate of 0 pass
        errors = [PayloadError("/rate", str(error))]
    detail = "; ".join(f"{each.pointer}: {each.message}" for each in errors)
    wrong = [each._asdict() for each in errors]
    raise BadRequest(422, "invalid-limits", "Invalid limits", detail, errors=wrong)
