"""Access: the caller's key, its scope and its task types are checked before a view runs."""

from flask import Flask, Response, g, request

from taskqueue.enqueue.queue import TaskQueue
from taskqueue.errors import InvalidSetting, UnknownTask
from taskqueue.settings.api_keys import ApiKey, find_key
from taskqueue.telemetry.trace import current_sender
from taskqueue.web.http.client_network import client_network
from taskqueue.web.http.endpoint import Endpoint, endpoint_of
from taskqueue.web.http.guesses import Guesses
from taskqueue.web.http.problems import BadRequest, problem

CHALLENGE = 'Bearer realm="tasks"'  # RFC 6750
BASIC_CHALLENGE = 'Basic realm="tasks", charset="UTF-8"'
SAFE_METHODS = ("GET", "HEAD")
OPEN = "open"  # the header X-Access while there are no keys


def register(app: Flask, queue: TaskQueue, *, except_blueprints: tuple[str, ...]) -> None:
    """Check every request, except those to the blueprints `except_blueprints`, which have checks of their own.

    Raises `InvalidSetting` if a key in API_KEYS names a task type that does not exist.
    """
    keys = queue.settings.api_keys
    guesses = Guesses()
    if not keys:

        @app.after_request
        def say_open(response: Response) -> Response:
            response.headers["X-Access"] = OPEN
            return response

        return
    for key in keys:
        unknown = sorted((key.job_types or frozenset()) - queue.job_types.keys())
        if unknown:
            known = ", ".join(sorted(queue.job_types))
            raise InvalidSetting(
                f"API_KEYS: {key.name!r} names the task type {unknown[0]!r}; the task types are {known}"
            )

    @app.before_request
    def check_access() -> Response | None:
        if request.endpoint is None or request.blueprint in except_blueprints:
            return None  # a 404 or 405, or not checked here
        declared = endpoint_of(app, request.endpoint)
        if declared is not None and declared.scope is None:
            return None
        key = _key_of_request(keys)
        if key is None:
            return _too_many_guesses(guesses) or _unauthenticated()
        g.caller = key
        current_sender.set(key.name)
        # A view without a declaration needs the widest scope.
        return _scope_missing(key, declared) or _type_missing(key, declared, queue)


def caller() -> ApiKey | None:
    """Return the key of this request; None: the API is open."""
    key: ApiKey | None = g.get("caller")
    return key


def caller_sees(task_type: str) -> bool:
    """Return whether the caller may see tasks of this type."""
    key = caller()
    return key is None or key.sees(task_type)


def caller_types() -> tuple[str, ...] | None:
    """Return the task types that the caller's key is limited to; None: all types."""
    key = caller()
    return None if key is None or key.job_types is None else tuple(sorted(key.job_types))


def caller_reads_file(task_types: tuple[str, ...] | None) -> bool:
    """Return whether the caller may read a file that belongs to these task types; None: to no type."""
    return caller_types() is None or (task_types is not None and all(map(caller_sees, task_types)))


def check_may_submit(task_type: str | None) -> None:
    """Raise `BadRequest` (403) if the caller's key is not for this task type. None: no type was given."""
    key = caller()
    if task_type is not None and key is not None and not key.sees(task_type):
        types = sorted(key.job_types or ())
        detail = f"The key {key.name!r} is for {', '.join(types)}, not for {task_type!r}."
        raise BadRequest(403, "other-task-type", "This key is for other task types", detail, known=types)


def _key_of_request(keys: tuple[ApiKey, ...]) -> ApiKey | None:
    given = request.authorization
    if given and given.type == "bearer":
        return find_key(keys, given.token or "")
    if given and given.type == "basic" and request.method in SAFE_METHODS:
        # For people with a browser. Only for reading: a browser sends Basic with a POST from another site, too.
        key = find_key(keys, given.password or "")
        return key if key and key.name == given.username else None
    return None


def _too_many_guesses(guesses: Guesses) -> Response | None:
    """Count a wrong key, and return a 429 if too many came before. A valid key is never refused."""
    guess, address = request.headers.get("Authorization"), client_network()
    if guess is None:
        return None
    seconds = guesses.seconds_to_wait(address)
    if not seconds:
        guesses.count_wrong(address, guess)
        return None
    detail = f"No such key. Try again in {seconds} s."
    answer = problem(429, "too-many-guesses", "Too many wrong keys", detail)
    answer.headers["Retry-After"] = str(seconds)
    return answer


def _unauthenticated() -> Response:
    sent = "Authorization" in request.headers
    detail = "No such key." if sent else "This needs a key."
    answer = problem(401, "no-key", "Authentication required", f"{detail} Send Authorization: Bearer KEY.")
    answer.headers["WWW-Authenticate"] = CHALLENGE + (', error="invalid_token"' if sent else "")
    if request.accept_mimetypes.find("text/html") >= 0:  # then a browser asks its user
        answer.headers.add("WWW-Authenticate", BASIC_CHALLENGE)
    return answer


def _scope_missing(key: ApiKey, declared: Endpoint | None) -> Response | None:
    scope = declared.scope if declared and declared.scope else "operate"
    if key.may(scope):
        return None
    detail = f"This needs the scope {scope!r}; the key {key.name!r} has {key.scope!r}."
    answer = problem(403, "scope-missing", "The key's scope is too small", detail, scope=scope)
    answer.headers["WWW-Authenticate"] = f'{CHALLENGE}, error="insufficient_scope", scope="{scope}"'
    return answer


def _type_missing(key: ApiKey, declared: Endpoint | None, queue: TaskQueue) -> Response | None:
    """Return a 403 if the key is limited to task types and this address concerns others.

    Raises `UnknownTask` for a task of another type: to this key it does not exist.
    """
    if key.job_types is None:
        return None
    task_id = (request.view_args or {}).get("task_id")
    if task_id is not None:
        task_type = queue.get(task_id).type
        if not key.sees(task_type):
            raise UnknownTask(task_id)
        g.changed_type = task_type  # for change_record.py
    elif declared and declared.query and "task_type" in declared.query.model_fields:
        check_may_submit(request.args.get("task_type"))
    elif not (declared and declared.by_type):
        types = ", ".join(sorted(key.job_types))
        detail = f"This is about all task types; the key {key.name!r} is for {types}."
        return problem(403, "other-task-type", "This key is for some task types only", detail)
    return None
