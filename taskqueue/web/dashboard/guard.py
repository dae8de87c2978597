"""Access to the dashboard: login, origin and address of each request; the security headers of each answer."""

import hmac
import secrets

from flask import Blueprint, Response, g, request
from werkzeug.datastructures import WWWAuthenticate
from werkzeug.exceptions import BadRequest, Forbidden, NotFound, TooManyRequests, Unauthorized

from taskqueue.settings.api_keys import ApiKey, Scope, find_key
from taskqueue.web.dashboard.shown import REGISTRIES
from taskqueue.web.http.browsers import SAFE_METHODS, is_from_another_site
from taskqueue.web.http.client_network import client_network
from taskqueue.web.http.guesses import Guesses

MAX_PER_PAGE = 200  # as in rq-dashboard's form
MAX_PAGE = 1_000_000  # nobody turns so many pages

POLICY = "; ".join(
    (
        "default-src 'none'",
        # Scripts need this answer's nonce, which neither <script> nor onerror= from a job can have. rq-dashboard's
        # templates are compiled in the browser (underscore.js), which needs 'unsafe-eval'; they are escaped.
        "script-src 'nonce-{nonce}' 'unsafe-eval'",
        "style-src 'self'",
        "style-src-attr 'unsafe-inline'",  # rq-dashboard's templates have style="float: right"
        "img-src 'self' data:",  # Bootstrap's icons are data: URLs
        "connect-src 'self'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
    )
)


def register(
    blueprint: Blueprint, login: tuple[str, str] | None, keys: tuple[ApiKey, ...], guesses: Guesses
) -> None:
    """Check each request to `blueprint`: login, origin, address; and add security headers to each answer."""
    if login or keys:
        blueprint.before_request(lambda: check_login(login, keys, guesses))
    blueprint.before_request(check_origin)
    blueprint.before_request(check_address)
    blueprint.after_request(harden)


def check_login(login: tuple[str, str] | None, keys: tuple[ApiKey, ...], guesses: Guesses) -> None:
    """Check HTTP Basic (RFC 7617): DASHBOARD_AUTH, or an API key's name and the key.

    Raises `Unauthorized`; `Forbidden` if the key's scope is too small, or the key is limited to task types;
    `TooManyRequests` after too many wrong logins, for a right password of DASHBOARD_AUTH, too: the answer must not
    tell which guess is right. An API key cannot be guessed, so a valid one is always taken.
    """
    given = request.authorization
    user, password = (given and given.username) or "", (given and given.password) or ""
    key = find_key(keys, password)
    if key is None or key.name != user:
        _check_guess(given is not None, guesses)
        if login and _is(user, login[0]) & _is(password, login[1]):
            return
        if given:
            guesses.count_wrong(client_network(), request.headers["Authorization"])
        challenge = WWWAuthenticate("basic", {"realm": "rq", "charset": "UTF-8"})
        raise Unauthorized(f"Log in with {_logins(login, keys)}.", www_authenticate=challenge)
    if key.job_types is not None:
        raise Forbidden(f"The key {key.name!r} is for some task types only, and this page shows all.")
    scope: Scope = "read" if request.method in SAFE_METHODS else "operate"
    if not key.may(scope):
        raise Forbidden(f"This needs the scope {scope!r}; the key {key.name!r} has {key.scope!r}.")


def _check_guess(is_guess: bool, guesses: Guesses) -> None:
    seconds = guesses.seconds_to_wait(client_network()) if is_guess else 0
    if seconds:
        raise TooManyRequests(f"Too many wrong logins. Try again in {seconds} s.", retry_after=seconds)


def _is(given: str, expected: str) -> bool:
    """Compare in constant time: the time that it takes does not reveal which characters match."""
    return hmac.compare_digest(given.encode(), expected.encode())


def _logins(login: tuple[str, str] | None, keys: tuple[ApiKey, ...]) -> str:
    ways = [
        *(["the user and password of DASHBOARD_AUTH"] if login else []),
        *(["the name of an API key and the key"] if keys else []),
    ]
    return ", or ".join(ways)


def check_origin() -> None:
    """Refuse a change that a page of another site asks for. Raises `Forbidden`."""
    if is_from_another_site():
        raise Forbidden("This request comes from another site. Use the buttons of the dashboard.")


def check_address() -> None:
    """Check the address: rq-dashboard's views fail at unexpected numbers and names.

    Raises `NotFound`, `BadRequest`.
    """
    parts = request.view_args
    if not parts:
        return
    if parts.get("instance_number", 0) != 0:
        raise NotFound("There is one Redis here; its pages are under /rq/0/.")
    if parts.get("registry_name", "queued") not in ("queued", *REGISTRIES):
        raise NotFound(f"There is no such registry. The registries are queued, {', '.join(REGISTRIES)}.")
    if parts.get("order", "asc") not in ("asc", "dsc"):
        raise BadRequest("The order is asc or dsc.")
    for name, maximum in (("page", MAX_PAGE), ("per_page", MAX_PER_PAGE)):
        if name in parts:
            parts[name] = min(_whole_number(name, parts[name]), maximum)


def _whole_number(name: str, text: str | int) -> int:
    try:
        number = int(text)
    except ValueError:
        number = 0
    if number < 1:
        raise BadRequest(f"{name} must be a whole number, 1 or more.")
    return number


def nonce() -> str:
    """Return the nonce of this answer's scripts, which nobody can guess."""
    if "csp_nonce" not in g:
        g.csp_nonce = secrets.token_urlsafe(16)
    return str(g.csp_nonce)


def harden(response: Response) -> Response:
    """Add headers so that nothing from another site runs in a page of the dashboard, frames it or reads it."""
    response.headers["Content-Security-Policy"] = POLICY.format(nonce=nonce())
    response.headers["X-Frame-Options"] = "DENY"
    response.headers["X-Content-Type-Options"] = "nosniff"
    response.headers["Referrer-Policy"] = (
        "same-origin"  # its footer has links to other sites: they do not see a job's id
    )
    return response
