"""Who may ask the dashboard, and for what; and the headers that every answer of it carries."""

import hmac
import secrets

from flask import Blueprint, Response, g, request
from werkzeug.datastructures import WWWAuthenticate
from werkzeug.exceptions import BadRequest, Forbidden, NotFound, Unauthorized

from taskqueue.settings.api_keys import ApiKey, Scope, find_key
from taskqueue.web.dashboard.shown import REGISTRIES

SAFE_METHODS = ("GET", "HEAD", "OPTIONS")  # they only show: web.dashboard mounts no others of rq-dashboard's
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


def register(blueprint: Blueprint, login: tuple[str, str] | None, keys: tuple[ApiKey, ...]) -> None:
    """Check every request to `blueprint`, in this order, and harden every answer."""
    if login or keys:
        blueprint.before_request(lambda: check_login(login, keys))
    blueprint.before_request(check_origin)
    blueprint.before_request(check_address)
    blueprint.after_request(harden)


def check_login(login: tuple[str, str] | None, keys: tuple[ApiKey, ...]) -> None:
    """HTTP Basic (RFC 7617), with DASHBOARD_AUTH, or with an API key's name and the key.

    Raises `Unauthorized`, and `Forbidden` where the key's scope is too small.
    """
    given = request.authorization
    user, password = (given and given.username) or "", (given and given.password) or ""
    if login and _is(user, login[0]) & _is(password, login[1]):
        return
    key = find_key(keys, password)
    if key is None or key.name != user:
        challenge = WWWAuthenticate("basic", {"realm": "rq", "charset": "UTF-8"})
        raise Unauthorized(f"Log in with {_logins(login, keys)}.", www_authenticate=challenge)
    if key.job_types is not None:
        raise Forbidden(f"The key {key.name!r} is for some task types only, and this page shows all.")
    scope: Scope = "read" if request.method in SAFE_METHODS else "operate"
    if not key.may(scope):
        raise Forbidden(f"This needs the scope {scope!r}; the key {key.name!r} has {key.scope!r}.")


def _is(given: str, right: str) -> bool:
    """In constant time: how long it takes tells nothing of what was right."""
    return hmac.compare_digest(given.encode(), right.encode())


def _logins(login: tuple[str, str] | None, keys: tuple[ApiKey, ...]) -> str:
    ways = [
        *(["the user and password of DASHBOARD_AUTH"] if login else []),
        *(["the name of an API key and the key"] if keys else []),
    ]
    return ", or ".join(ways)


def check_origin() -> None:
    """What changes something must come from a page of ours. Raises `Forbidden`."""
    if request.method in SAFE_METHODS:
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
