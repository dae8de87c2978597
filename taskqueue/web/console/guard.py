"""Checks each request to the console: who asks, what they may do, from which site; and hardens each answer."""

import hashlib
import hmac
import secrets
from collections.abc import Callable
from functools import wraps
from typing import ParamSpec
from urllib.parse import urlsplit

from flask import Blueprint, Response, g, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue
from werkzeug.exceptions import Forbidden, NotFound
from werkzeug.wrappers import Response as BaseResponse

from taskqueue.settings import Settings
from taskqueue.settings.api_keys import ApiKey, Scope, find_key
from taskqueue.store.connection import redis_errors
from taskqueue.telemetry.changes import ANYBODY
from taskqueue.telemetry.trace import current_sender
from taskqueue.web.console import PREFIX, Services
from taskqueue.web.console.sessions import LONGEST_SECONDS, Session, Sessions
from taskqueue.web.http.access import caller, caller_sees
from taskqueue.web.http.browsers import SAFE_METHODS, is_from_another_site
from taskqueue.web.http.client_network import client_network

SESSION_COOKIE, FORM_COOKIE = "tq_session", "tq_form"
OPEN_VIEWS = ("console.sign_in", "console.static_file")
POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self'",
        "connect-src 'self'",
        "form-action 'self'",
        "base-uri 'none'",
        "frame-ancestors 'none'",
    )
)
Parameters = ParamSpec("Parameters")


def register(blueprint: Blueprint, services: Services) -> None:
    """Check each request, offer the page to sign in, and add headers to each answer."""
    settings = services.settings
    sessions = Sessions(services.connection)
    needs_session = bool(settings.api_keys or settings.dashboard_auth)

    @blueprint.before_request
    def check() -> ResponseReturnValue | None:
        if is_from_another_site():
            raise Forbidden("This request comes from another site. Use the buttons of the console.")
        if needs_session and request.endpoint not in OPEN_VIEWS:
            token = request.cookies.get(SESSION_COOKIE, "")
            with redis_errors():
                session, new_token = sessions.find(token) if token else (None, "")
            if session is None or not _let_in(session, settings):
                return redirect(url_for("console.sign_in", next=_here()))
            g.console_token = new_token
        if request.method not in SAFE_METHODS and not _has_form_token():
            raise Forbidden("This form is too old, or the browser keeps no cookies. Load the page again.")
        return None

    @blueprint.route("/sign-in", methods=["GET", "POST"])
    def sign_in() -> ResponseReturnValue:
        if not needs_session:
            return redirect(url_for("console.now"))
        status = 200
        error = ""
        seconds = 0
        if request.method == "POST":
            name, secret = request.form.get("name", ""), request.form.get("secret", "")
            seconds = services.guesses.seconds_to_wait(client_network())
            if entry := _entry(settings, name, secret, may_guess=not seconds):
                with redis_errors():
                    token = sessions.begin(*entry)
                response = redirect(_next_page())
                set_cookie(response, SESSION_COOKIE, token, LONGEST_SECONDS)
                return response
            status, error = (
                403,
                (
                    "There is no such key, or the user or password is wrong."
                    if settings.dashboard_auth
                    else "There is no such key."
                ),
            )
            if seconds:
                status, error = 429, f"Too many wrong names, passwords or keys. Try again in {seconds} s."
            else:
                services.guesses.count_wrong(client_network(), f"{name}\n{secret}")
        page = render_template(
            "console/sign_in.html", error=error, next=request.values.get("next", ""), settings=settings
        )
        return page, status, {"Retry-After": str(seconds)} if seconds else {}

    @blueprint.post("/sign-out")
    def sign_out() -> ResponseReturnValue:
        token = request.cookies.get(SESSION_COOKIE)
        if token:
            with redis_errors():
                sessions.end(token)
        response = redirect(url_for("console.sign_in"))
        response.delete_cookie(SESSION_COOKIE, path=_path())
        return response

    @blueprint.after_request
    def harden(response: Response) -> Response:
        token = g.get("console_token")
        if token and token != request.cookies.get(SESSION_COOKIE) and request.endpoint != "console.sign_out":
            set_cookie(response, SESSION_COOKIE, token, LONGEST_SECONDS)
        if "form_token" in g and FORM_COOKIE not in request.cookies:
            set_cookie(response, FORM_COOKIE, g.form_token, None)
        response.headers["Content-Security-Policy"] = POLICY
        response.headers["X-Frame-Options"] = "DENY"
        response.headers["Referrer-Policy"] = "same-origin"
        return response

    blueprint.context_processor(
        lambda: {
            "form_token": form_token,
            "may": may,
            "who": who,
            "sees": caller_sees,
            "sees_all": sees_all,
            "needs_session": needs_session,
        }
    )


def operates(view: Callable[Parameters, ResponseReturnValue]) -> Callable[Parameters, ResponseReturnValue]:
    """Let a view be used by those only who may operate. It raises `Forbidden`."""

    @wraps(view)
    def checked(*args: Parameters.args, **kwargs: Parameters.kwargs) -> ResponseReturnValue:
        check_may("operate")
        return view(*args, **kwargs)

    return checked


def about_all_types(view: Callable[Parameters, ResponseReturnValue]) -> Callable[Parameters, ResponseReturnValue]:
    """Hide a view about all task types from keys that are limited to some. It raises `Forbidden`."""

    @wraps(view)
    def checked(*args: Parameters.args, **kwargs: Parameters.kwargs) -> ResponseReturnValue:
        if not sees_all():
            key = caller()
            types = ", ".join(sorted((key and key.job_types) or ()))
            raise Forbidden(f"This page is about all task types. Your key is for {types}.")
        return view(*args, **kwargs)

    return checked


def check_may(scope: Scope) -> None:
    """Raise `Forbidden` unless the caller has this scope."""
    if not may(scope):
        key = caller()
        raise Forbidden(f"This needs the scope {scope!r}. Your key has {key.scope if key else 'none'!r}.")


def may(scope: Scope) -> bool:
    """Return whether the caller has this scope."""
    key = caller()
    return key is None or key.may(scope)


def sees_all() -> bool:
    """Return whether the caller sees all task types."""
    key = caller()
    return key is None or key.job_types is None


def check_sees(task_type: str) -> None:
    """Raise `NotFound` if the caller may not see tasks of this type: to them it does not exist."""
    if not caller_sees(task_type):
        raise NotFound("There is nothing at this address.")


def who() -> str:
    """Return the name of the caller, for the record of changes."""
    key = caller()
    return key.name if key else str(g.get("console_user", ANYBODY))


def form_token() -> str:
    """Return the token that each form of this page has, and that no page of another site can know."""
    if token := g.get("console_token"):
        return hashlib.sha256(f"form {token}".encode()).hexdigest()[:32]
    if "form_token" not in g:
        g.form_token = request.cookies.get(FORM_COOKIE) or secrets.token_urlsafe(24)
    return str(g.form_token)


def set_cookie(response: BaseResponse, name: str, value: str, seconds: int | None) -> None:
    """Set a cookie that scripts cannot read and other sites cannot send; None: until the browser is closed."""
    is_secure = request.is_secure or request.headers.get("X-Forwarded-Proto") == "https"
    response.set_cookie(
        name, value, max_age=seconds, path=_path(), secure=is_secure, httponly=True, samesite="Strict"
    )


def _has_form_token() -> bool:
    given = request.form.get("form_token", "")
    tokens = [request.cookies.get(FORM_COOKIE, "")]
    if token := g.get("console_token"):
        # The page may have been loaded with the token before this one.
        both = {token, request.cookies.get(SESSION_COOKIE, "")}
        tokens = [hashlib.sha256(f"form {each}".encode()).hexdigest()[:32] for each in both]
    return bool(given) and any(hmac.compare_digest(given.encode(), each.encode()) for each in tokens)


def _entry(settings: Settings, name: str, secret: str, *, may_guess: bool) -> tuple[str, str] | None:
    """Return the name and the proof of a session for what was given; None: there is no such key or login.

    Without `may_guess` only an API key is taken: nobody can guess one.
    """
    secret = secret.strip()
    if key := find_key(settings.api_keys, secret):
        return key.name, key.digest
    login = settings.dashboard_auth if may_guess else None
    if login and hmac.compare_digest(f"{name}\n{secret}".encode(), f"{login[0]}\n{login[1]}".encode()):
        return login[0], _login_proof(login)
    return None


def _let_in(session: Session, settings: Settings) -> bool:
    """Note whose session it is, if their key or login still exists; return whether it does."""
    key: ApiKey | None = next((key for key in settings.api_keys if key.digest == session.proof), None)
    if key:
        g.caller = key
        current_sender.set(key.name)
        return True
    login = settings.dashboard_auth
    if login and hmac.compare_digest(session.proof, _login_proof(login)):
        g.console_user = login[0]
        current_sender.set(login[0])
        return True
    return False


def _login_proof(login: tuple[str, str]) -> str:
    return hashlib.sha256(f"login {login[0]}\n{login[1]}".encode()).hexdigest()


def _path() -> str:
    return f"{request.script_root}{PREFIX}"


def _here() -> str:
    return request.full_path.rstrip("?") if request.method in SAFE_METHODS else ""


def _next_page() -> str:
    """Return where to go after signing in: a page of the console, whatever the address says."""
    asked = request.form.get("next", "")
    parts = urlsplit(asked)
    is_ours = not parts.scheme and not parts.netloc and asked.startswith(PREFIX + "/") and "\\" not in asked
    return request.script_root + asked if is_ours else url_for("console.now")
