"""`GET /tasks/<id>/explain`: why a task does not run, or how it ended."""

from dataclasses import asdict

from flask import Blueprint, jsonify
from flask.typing import ResponseReturnValue
from typing_extensions import TypedDict

from taskqueue.monitor.diagnosis import Explainer
from taskqueue.store.keys import Status
from taskqueue.web.http.endpoint import endpoint


class ReasonJson(TypedDict):
    """A reason: `code` is for programs, `message` for people."""

    code: str
    message: str


class ExplanationJson(TypedDict):
    """Why a task does not run, or how it ended; the most important reason comes first."""

    id: str
    status: Status
    reasons: list[ReasonJson]
    ahead: int | None
    seconds: float | None


def views(explainer: Explainer) -> Blueprint:
    """Return the view that explains a task."""
    blueprint = Blueprint("explanation", __name__)

    @blueprint.get("/tasks/<task_id>/explain")
    @endpoint(
        "Explain why a task does not run, or how it ended",
        scope="read",
        answers={200: ExplanationJson},
        problems=(404, 503),
    )
    def explain(task_id: str) -> ResponseReturnValue:
        """`ahead` and `seconds` are measured; null means that they cannot be measured."""
        explanation = explainer.explain(task_id)
        return jsonify(asdict(explanation) | {"reasons": [reason.json() for reason in explanation.reasons]})

    return blueprint
