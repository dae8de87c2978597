"""Records each change that a request has made: what its view declares as `change`, and the dashboard's buttons."""

from flask import Flask, Response, g, request

from taskqueue.telemetry.changes import ANYBODY, Changes
from taskqueue.web.http.access import caller
from taskqueue.web.http.browsers import SAFE_METHODS
from taskqueue.web.http.endpoint import endpoint_of


def register(app: Flask, changes: Changes, *, dashboard: str) -> None:
    """Record what requests change; `dashboard` is the blueprint whose every POST is a change."""

    @app.after_request
    def record(response: Response) -> Response:
        if request.method in SAFE_METHODS or response.status_code >= 300 or request.endpoint is None:
            return response
        if request.blueprint == dashboard:
            login = request.authorization
            who = (login and login.username) or ANYBODY
            what = request.endpoint.partition(".")[2].replace("_", "-")
            changes.record(who, "dashboard", what, _target())
        elif (declared := endpoint_of(app, request.endpoint)) and declared.change and not g.get("is_dry_run"):
            key = caller()
            who = key.name if key else ANYBODY
            detail = g.get("change_detail") or request.query_string.decode(errors="replace")
            changes.record(who, "http", declared.change, _target(), detail, g.get("changed_type", ""))
        return response


def note_task_type(task_type: str, detail: str = "") -> None:
    """Note the task type of what this request changes: a key limited to it may see the change.

    `detail`: for people, in place of the query.
    """
    g.changed_type, g.change_detail = task_type, detail


def note_dry_run() -> None:
    """Note that this request changes nothing: it asks what would be changed."""
    g.is_dry_run = True


def _target() -> str:
    """Return the name or id in the request's address; "" if it has none."""
    return "/".join(map(str, (request.view_args or {}).values()))
