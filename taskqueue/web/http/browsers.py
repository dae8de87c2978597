"""What pages of other sites may do from a browser: nothing, except those of CORS_ORIGINS.

While there are no keys, everybody who reaches the API may use it. Each page that somebody on this machine or in
this network looks at reaches it, too: a page can send changes to any address, and it can read the answers if it
gives the address a name of its own (DNS rebinding). So changes from other sites and unknown names are refused.
"""

from functools import lru_cache
from ipaddress import ip_address
from urllib.parse import urlsplit

from flask import Flask, Response, request

from taskqueue.settings import Settings
from taskqueue.web.http.problems import BadRequest

SAFE_METHODS = ("GET", "HEAD", "OPTIONS")  # they only show, in the API as at /rq
METHODS = "GET, POST, PUT, DELETE"
SHOWN_HEADERS = ", ".join(
    (
        "Location, Link, Retry-After, RateLimit, RateLimit-Policy, Idempotency-Replayed, Preference-Applied",
        "X-Request-Id, X-Access, WWW-Authenticate, Content-Disposition",
    )
)
PREFLIGHT_SECONDS = 600


def register(app: Flask, settings: Settings, *, except_blueprints: tuple[str, ...]) -> None:
    """Check where each request comes from while the API is open, and answer the origins of CORS_ORIGINS.

    The blueprints in `except_blueprints` check origins themselves. Register this before the check of access: a
    preflight has no key.
    """
    if not settings.api_keys:

        @app.before_request
        def check() -> None:
            check_host(settings.allowed_hosts)
            if is_from_another_site(settings.cors_origins) and request.blueprint not in except_blueprints:
                fix = "Let its server call the API; or name its origin in CORS_ORIGINS."
                detail = f"A page of another site asks for a change. {fix}"
                raise BadRequest(403, "other-site", "This request comes from another site", detail)

    if settings.cors_origins:
        _answer_origins(app, settings.cors_origins, except_blueprints)


def _answer_origins(app: Flask, origins: tuple[str, ...], except_blueprints: tuple[str, ...]) -> None:
    """Add the headers of CORS (Fetch Standard) to the answers to these origins, and answer their preflights."""

    @app.before_request
    def preflight() -> Response | None:
        asked = request.headers
        if request.method != "OPTIONS" or "Access-Control-Request-Method" not in asked or not allowed():
            return None
        answer = Response(status=204)
        answer.headers["Access-Control-Allow-Methods"] = METHODS
        if names := asked.get("Access-Control-Request-Headers"):
            answer.headers["Access-Control-Allow-Headers"] = names
        answer.headers["Access-Control-Max-Age"] = str(PREFLIGHT_SECONDS)
        return answer

    @app.after_request
    def add_headers(response: Response) -> Response:
        response.vary.add("Origin")
        if allowed():
            response.headers["Access-Control-Allow-Origin"] = request.headers["Origin"]
            response.headers["Access-Control-Expose-Headers"] = SHOWN_HEADERS
        return response

    def allowed() -> bool:
        return request.headers.get("Origin") in origins and request.blueprint not in except_blueprints


def is_from_another_site(allowed_origins: tuple[str, ...] = ()) -> bool:
    """Return whether a page of another site, by a browser, asks for a change. Allowed origins do not count."""
    if request.method in SAFE_METHODS:
        return False
    site, origin = request.environ.get("HTTP_SEC_FETCH_SITE"), request.environ.get("HTTP_ORIGIN")
    if origin in allowed_origins:
        return False
    if site is not None:
        return site not in ("same-origin", "none")
    # Without both headers it is not a browser: a browser sends Origin with a POST from another site, and no
    # page can prevent it (Fetch Standard, "append a request Origin header"). curl sends neither, and has no
    # login to abuse.
    return origin is not None and origin not in (f"http://{request.host}", f"https://{request.host}")


def check_host(allowed_hosts: tuple[str, ...]) -> None:
    """Refuse a name that somebody else may have given this server (DNS rebinding). Raises `BadRequest` (403)."""
    header = request.environ.get("HTTP_HOST")
    if header and not _is_known(header, allowed_hosts):  # no browser leaves it out
        fix = "Use its address; or name the host in ALLOWED_HOSTS, or set API_KEYS."
        title = "The server is not known by this name"
        raise BadRequest(403, "unknown-host", title, f"The host is {header!r}. {fix}")


@lru_cache(maxsize=100)
def _is_known(header: str, allowed_hosts: tuple[str, ...]) -> bool:
    """Return whether a Host header has an allowed name, a loopback name or an address.

    An address is no name: a page has it as its own host only if this server sent the page.
    """
    try:
        host = (urlsplit(f"//{header}").hostname or "").rstrip(".")
        loopback = host == "localhost" or host.endswith(".localhost")
        return loopback or _matches(host, allowed_hosts) or ip_address(host) is not None
    except ValueError:
        return False


def _matches(host: str, allowed_hosts: tuple[str, ...]) -> bool:
    """Return whether a host is among these; `*.example.com` are all hosts below example.com, `*` are all."""
    return any(
        allowed in ("*", host) or (allowed.startswith("*.") and host.endswith(allowed[1:]))
        for allowed in allowed_hosts
    )
