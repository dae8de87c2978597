"""What happens before and after each request to the dashboard, and when one fails."""

import hmac
import secrets
from urllib.parse import urlsplit

from flask import Blueprint, Response, current_app, g, render_template_string, request
from redis.exceptions import RedisError
from rq.exceptions import InvalidJobOperation, NoSuchJobError

from web.problems import problem

REGISTRIES = ("queued", "scheduled", "deferred", "started", "finished", "failed", "canceled")
ORDERS = ("asc", "dsc")
MAX_PER_PAGE = 200  # as the page's own field says
MAX_PAGE = 1_000_000
SAFE_METHODS = ("GET", "HEAD", "OPTIONS")
CHANGES_BY_GET = ("rq_dashboard.requeue_all",)

# Its templates are compiled with `new Function`, hence 'unsafe-eval'. Nothing runs that did not come from
# our own files or has not this answer's nonce: no attribute like onerror=, no <script> in a payload.
POLICY = (
    "default-src 'none'; script-src 'self' 'nonce-{nonce}' 'unsafe-eval'; style-src 'self' 'unsafe-inline';"
    " img-src 'self' data:; connect-src 'self'; font-src 'self'; base-uri 'none'; form-action 'self';"
    " frame-ancestors 'none'"
)
PAGE = """<!DOCTYPE html><meta charset="utf-8"><title>{{ title }}</title>
<body style="font-family: sans-serif; margin: 3em"><h1>{{ title }}</h1><p>{{ detail }}</p>
<p><a href="{{ url_for('rq_dashboard.queues_overview') }}">All queues</a></p>"""


def protect(blueprint: Blueprint) -> None:
    """Register the guards on the blueprint."""
    # In this order: nobody learns anything before the login.
    for check in (_check_login, _check_origin, _check_address, _check_redis):
        blueprint.before_request(check)
    blueprint.after_request(_harden)
    blueprint.context_processor(lambda: {"csp_nonce": _nonce()})
    for kind in (NoSuchJobError, InvalidJobOperation, RedisError):
        blueprint.register_error_handler(kind, _failed)


def _check_login() -> Response | None:
    auth = current_app.config["DASHBOARD_AUTH"]
    if auth is None:
        return None
    given = request.authorization
    if given is not None and given.type == "basic":
        user, password = (value.encode() for value in auth)
        # Both are compared, whatever the first says: the time tells nothing.
        right_user = hmac.compare_digest((given.username or "").encode(), user)
        right_password = hmac.compare_digest((given.password or "").encode(), password)
        if right_user and right_password:
            return None
    answer = _answer(401, "login", "Log in", "The user and the password are those of DASHBOARD_AUTH.")
    answer.headers["WWW-Authenticate"] = 'Basic realm="rq-dashboard", charset="UTF-8"'
    return answer


def _check_origin() -> Response | None:
    """A change is asked for by POST, and by our own pages: not by a link or a form of somebody else's."""
    if request.method in SAFE_METHODS:
        if request.endpoint not in CHANGES_BY_GET:
            return None
        answer = _answer(405, "method-not-allowed", "Use POST", "This address changes something.")
        answer.headers["Allow"] = "POST"
        return answer
    site = request.headers.get("Sec-Fetch-Site")
    origin = request.headers.get("Origin")
    if site is not None:
        ours = site in ("same-origin", "none")
    elif origin is not None:
        ours = urlsplit(origin).netloc == request.host
    else:
        ours = True  # no browser sends a POST without an Origin (Fetch Standard, 3.1): this is curl
    return None if ours else _answer(403, "other-origin", "Not from here", "Another site asked for this change.")


def _check_address() -> Response | None:
    """What rq-dashboard takes from the address without a look."""
    parts = request.view_args or {}
    if parts.get("instance_number", 0) != 0:
        return _not_found("There is one Redis here: number 0.")
    if parts.get("registry_name", "queued") not in REGISTRIES:
        return _not_found(f"A registry is one of {', '.join(REGISTRIES)}.")
    if parts.get("order", "asc") not in ORDERS:
        return _not_found(f"The order is one of {', '.join(ORDERS)}.")
    for name, most in (("page", MAX_PAGE), ("per_page", MAX_PER_PAGE)):
        value = str(parts.get(name, 1))
        if not (value.isascii() and value.isdigit() and len(value) < 9 and 1 <= int(value) <= most):
            return _not_found(f"{name} is a number from 1 to {most:,}.")
    if request.endpoint == "rq_dashboard.empty_queue" and parts["registry_name"] == "started":
        return _answer(409, "job-runs", "They are running", "A running job cannot be deleted; stop it first.")
    return None


def _check_redis() -> None:
    """Redis's absence is told alike on every page: `_failed` has the words."""
    if request.endpoint != "rq_dashboard.static":
        current_app.redis_conn.ping()  # type: ignore[attr-defined]


def _harden(response: Response) -> Response:
    response.headers["Content-Security-Policy"] = POLICY.format(nonce=_nonce())
    response.headers["X-Frame-Options"] = "DENY"
    response.headers["Referrer-Policy"] = "no-referrer"
    return response


def _nonce() -> str:
    if "csp_nonce" not in g:
        g.csp_nonce = secrets.token_urlsafe(16)
    return str(g.csp_nonce)


def _failed(error: Exception) -> Response:
    match error:
        case NoSuchJobError():
            return _not_found(f"{error} It may have expired.")
        case InvalidJobOperation():
            return _answer(
                409, "not-now", "Not in this state", str(error) or "The job is in another state by now."
            )
        case _:
            return _answer(503, "queue-unavailable", "Redis is out of reach", "Redis did not answer.")


def _not_found(detail: str) -> Response:
    return _answer(404, "not-found", "There is nothing at this address", detail)


def _answer(status: int, code: str, title: str, detail: str) -> Response:
    """A page for a person, a problem document for a script."""
    if request.method in SAFE_METHODS and "/data/" not in request.path:
        page = render_template_string(PAGE, title=title, detail=detail)
        return Response(page, status, content_type="text/html; charset=utf-8")
    return problem(status, code, title, detail)
