"""Who may ask the dashboard, and for what; and the headers that every answer of it carries."""

import hmac
import secrets

from flask import Blueprint, Response, g, request
from werkzeug.datastructures import WWWAuthenticate
from werkzeug.exceptions import BadRequest, Forbidden, NotFound, Unauthorized

from web.dashboard.shown import REGISTRIES

MAX_PER_PAGE = 200  # as its form has it
MAX_PAGE = 1_000_000  # Redis counts further, but nobody turns so many pages

POLICY = "; ".join(
    (
        "default-src 'none'",
        # Scripts run by this answer's nonce only: neither <script> nor onerror= from a job can have it. Its
        # templates are compiled in the browser (underscore.js), which is 'unsafe-eval'; they are escaped.
        "script-src 'nonce-{nonce}' 'unsafe-eval'",
        "style-src 'self'",
        "style-src-attr 'unsafe-inline'",  # its templates have style="float: right"
        "img-src 'self' data:",  # Bootstrap's icons are data: URLs
        "connect-src 'self'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
    )
)


def register(blueprint: Blueprint, auth: tuple[str, str] | None) -> None:
    """Check every request to `blueprint`, in this order, and harden every answer."""
    if auth is not None:
        blueprint.before_request(lambda: check_login(*auth))
    blueprint.before_request(check_origin)
    blueprint.before_request(check_address)
    blueprint.after_request(harden)


def check_login(user: str, password: str) -> None:
    """HTTP Basic (RFC 7617). Raises `Unauthorized`."""
    given = request.authorization
    # Both are compared, each in constant time: how long it takes tells nothing of what was right.
    right_user = hmac.compare_digest(((given and given.username) or "").encode(), user.encode())
    right_password = hmac.compare_digest(((given and given.password) or "").encode(), password.encode())
    if not (right_user and right_password):
        login = WWWAuthenticate("basic", {"realm": "rq", "charset": "UTF-8"})
        raise Unauthorized("Log in with the user and password of DASHBOARD_AUTH.", www_authenticate=login)


def check_origin() -> None:
    """What changes something must come from a page of ours. Raises `Forbidden`."""
    if request.method in ("GET", "HEAD", "OPTIONS"):
        return
    site, origin = request.headers.get("Sec-Fetch-Site"), request.headers.get("Origin")
    if site is not None:
        ours = site in ("same-origin", "none")
    elif origin is not None:
        ours = origin in (f"http://{request.host}", f"https://{request.host}")
    else:
        # No browser: each sends Origin with a POST from another site, and no page can stop it (Fetch Standard,
        # "append a request Origin header"). curl sends neither, and has no login that another site could use.
        ours = True
    if not ours:
        raise Forbidden("This request comes from another site. Use the buttons of the dashboard itself.")


def check_address() -> None:
    """rq-dashboard's views fail at a number or a name that they do not expect. Raises `NotFound`, `BadRequest`."""
    parts = request.view_args
    if not parts:
        return
    if parts.get("instance_number", 0) != 0:
        raise NotFound("There is one Redis here; its pages are under /rq/0/.")
    if parts.get("registry_name", "queued") not in ("queued", *REGISTRIES):
        raise NotFound(f"There is no such registry. There are queued, {', '.join(REGISTRIES)}.")
    if parts.get("order", "asc") not in ("asc", "dsc"):
        raise BadRequest("The order is asc or dsc.")
    for name, most in (("page", MAX_PAGE), ("per_page", MAX_PER_PAGE)):
        if name in parts:
            parts[name] = min(_whole_number(name, parts[name]), most)


def _whole_number(name: str, text: str | int) -> int:
    try:
        number = int(text)
    except ValueError:
        number = 0
    if number < 1:
        raise BadRequest(f"{name} must be a whole number, 1 or more.")
    return number


def nonce() -> str:
    """What this answer's own scripts carry, and nothing else can guess."""
    if "csp_nonce" not in g:
        g.csp_nonce = secrets.token_urlsafe(16)
    return str(g.csp_nonce)


def harden(response: Response) -> Response:
    """Nothing from elsewhere runs in a page of the dashboard, frames it or reads it."""
    response.headers["Content-Security-Policy"] = POLICY.format(nonce=nonce())
    response.headers["X-Frame-Options"] = "DENY"
    response.headers["X-Content-Type-Options"] = "nosniff"
    response.headers["Referrer-Policy"] = "same-origin"  # its footer links elsewhere; a job's id stays here
    return response
