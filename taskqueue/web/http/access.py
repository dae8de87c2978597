"""Who may call what: the caller's key, its scope and its job types, checked before any view runs."""

from flask import Flask, Response, g, request

from taskqueue.enqueue.queue import TaskQueue
from taskqueue.errors import InvalidSetting, UnknownTask
from taskqueue.settings.api_keys import ApiKey, find_key
from taskqueue.web.http.endpoint import Operation, operation_of
from taskqueue.web.http.problems import BadRequest, problem

CHALLENGE = 'Bearer realm="tasks"'  # RFC 6750
BASIC_CHALLENGE = 'Basic realm="tasks", charset="UTF-8"'
SAFE_METHODS = ("GET", "HEAD")
OPEN = "open"  # X-Access, while there are no keys: whoever looks at an answer sees it


def register(app: Flask, queue: TaskQueue, *, elsewhere: str) -> None:
    """Check every request, except those of the blueprint `elsewhere`, which has a lock of its own.

    Raises `InvalidSetting` where a key names a job type that there is not.
    """
    keys = queue.settings.api_keys
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
            raise InvalidSetting(f"API_KEYS: {key.name!r} names the job type {unknown[0]!r}; there are {known}")

    @app.before_request
    def check_access() -> Response | None:
        if request.endpoint is None or request.blueprint == elsewhere:
            return None  # nothing is there: a 404 or 405
        described = operation_of(app, request.endpoint)
        if described is not None and described.scope is None:
            return None
        key = _key_of_request(keys)
        if key is None:
            return _who_are_you()
        g.caller = key
        # A view that does not say what it needs is for those who may do everything.
        return _scope_missing(key, described) or _type_missing(key, described, queue)


def caller() -> ApiKey | None:
    """The key that this request came with; None where the API is open."""
    key: ApiKey | None = g.get("caller")
    return key


def caller_sees(job_type: str) -> bool:
    """Whether tasks of this type are the caller's business."""
    key = caller()
    return key is None or key.sees(job_type)


def check_may_submit(job_type: str | None) -> None:
    """Raises a 403 unless the caller's key is for this job type, if there is one."""
    key = caller()
    if job_type is not None and key is not None and not key.sees(job_type):
        types = sorted(key.job_types or ())
        detail = f"The key {key.name!r} is for {', '.join(types)}, not for {job_type!r}."
        raise BadRequest(403, "other-task-type", "This key is for other task types", detail, known=types)


def _key_of_request(keys: tuple[ApiKey, ...]) -> ApiKey | None:
    given = request.authorization
    if given and given.type == "bearer":
        return find_key(keys, given.token or "")
    if given and given.type == "basic" and request.method in SAFE_METHODS:
        # For people who look with a browser. It sends this with a POST from another site, too: not for changes.
        key = find_key(keys, given.password or "")
        return key if key and key.name == given.username else None
    return None


def _who_are_you() -> Response:
    sent = "Authorization" in request.headers
    detail = "No such key." if sent else "This needs a key."
    answer = problem(401, "no-key", "Who are you?", f"{detail} Send Authorization: Bearer KEY.")
    answer.headers["WWW-Authenticate"] = CHALLENGE + (', error="invalid_token"' if sent else "")
    if request.accept_mimetypes.find("text/html") >= 0:  # a browser asks its user then
        answer.headers.add("WWW-Authenticate", BASIC_CHALLENGE)
    return answer


def _scope_missing(key: ApiKey, described: Operation | None) -> Response | None:
    scope = described.scope if described and described.scope else "operate"
    if key.may(scope):
        return None
    detail = f"This needs the scope {scope!r}; the key {key.name!r} has {key.scope!r}."
    answer = problem(403, "scope-missing", "This key may not do that", detail, scope=scope)
    answer.headers["WWW-Authenticate"] = f'{CHALLENGE}, error="insufficient_scope", scope="{scope}"'
    return answer


def _type_missing(key: ApiKey, described: Operation | None, queue: TaskQueue) -> Response | None:
    """For a key that is limited to job types: other types' tasks are not there."""
    if key.job_types is None:
        return None
    task_id = (request.view_args or {}).get("task_id")
    if task_id is not None:
        if not key.sees(queue.get(task_id).type):
            raise UnknownTask(task_id)
    elif described and described.query and "task_type" in described.query.model_fields:
        check_may_submit(request.args.get("task_type"))
    elif not (described and described.by_type):
        detail = f"This is about all task types; the key {key.name!r} is for {', '.join(sorted(key.job_types))}."
        return problem(403, "other-task-type", "This key is for some task types only", detail)
    return None
