"""`GET /tasks/<id>/explain`: why a task does not run, or how it ended."""

from dataclasses import asdict

from flask import Blueprint, jsonify
from flask.typing import ResponseReturnValue
from typing_extensions import TypedDict

from taskqueue.monitor.diagnosis import Explainer
from taskqueue.store.keys import Status
from taskqueue.web.http.endpoint import operation


class ReasonJson(TypedDict):
    """One thing that is so: `code` for programs, `message` for people."""

    code: str
    message: str


class ExplanationJson(TypedDict):
    """The most important reason first."""

    id: str
    status: Status
    reasons: list[ReasonJson]
    ahead: int | None
    seconds: float | None


def views(explainer: Explainer) -> Blueprint:
    """The view that explains a task."""
    blueprint = Blueprint("explanation", __name__)

    @blueprint.get("/tasks/<task_id>/explain")
    @operation(
        "Ask why a task does not run, or how it ended",
        scope="read",
        answers={200: ExplanationJson},
        problems=(404, 503),
    )
    def explain(task_id: str) -> ResponseReturnValue:
        """`ahead` and `seconds` are measured, and null where they cannot be."""
        explanation = explainer.explain(task_id)
        return jsonify(asdict(explanation) | {"reasons": [reason.json() for reason in explanation.reasons]})

    return blueprint
