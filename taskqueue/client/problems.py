"""How a refusal becomes an exception: by the `type` of the problem document (RFC 9457, docs/api.md)."""

import re
import ssl
from collections.abc import Callable, Mapping
from typing import Any

import httpx

from taskqueue.client.call import Call
from taskqueue.errors import (
    ApiRefused,
    BatchTooLarge,
    FilesUnavailable,
    FileTooLarge,
    IdempotencyMismatch,
    InvalidBatch,
    InvalidOptions,
    InvalidPayload,
    InvalidScheduleName,
    PayloadError,
    QueueUnavailable,
    StillProcessing,
    TaskQueueError,
    TooManyMatch,
    TooManySchedules,
    UnknownBatch,
    UnknownFile,
    UnknownJobType,
    UnknownParent,
    UnknownQueue,
    UnknownSchedule,
    UnknownTask,
    WrongStatus,
)

Problem = Mapping[str, Any]

PREFIX = "urn:problem:"
NOT_THIS_API = ("", "not-found", "method-not-allowed")  # this API has every address that is used here
FIXES = {
    "no-key": "Give the client a key of this API.",
    "scope-missing": "Give the client a key that has this scope.",
    "other-task-type": "Give the client a key for this task type.",
}
GATEWAY = (502, 503, 504)  # statuses of a proxy whose web server is away


def refusal(answer: httpx.Response, call: Call[Any]) -> TaskQueueError:
    """Return the exception for an answer of 300 or more. Its message is the server's own."""
    problem = _problem(answer)
    uri = str(problem.get("type", ""))
    kind = uri.removeprefix(PREFIX) if uri.startswith(PREFIX) else ""
    if kind in NOT_THIS_API:
        return not_this_api(answer)
    detail = str(problem.get("detail") or problem.get("title") or kind)
    make = MAKERS.get(kind)
    try:
        error = make(problem, call) if make else None
    except (KeyError, TypeError, ValueError, AttributeError):  # a field is missing: the server has another version
        error = None
    if error is None:
        return ApiRefused(detail, FIXES.get(kind, ""), answer.status_code, kind, _errors(problem))
    error.args = (detail,)
    return error


def not_this_api(answer: httpx.Response) -> ApiRefused:
    """Return the exception for an answer that does not come from this API."""
    address = str(answer.url.copy_with(query=None))
    found = f"{address} answers {answer.status_code}, but is not this API."
    if answer.is_redirect:
        found = f"{found} It redirects to {answer.headers.get('Location')}."
    if answer.status_code in GATEWAY:
        return ApiRefused(found, "Start the web server behind it.", answer.status_code, "gateway")
    return ApiRefused(found, "Correct the URL.", answer.status_code, "not-this-api")


def no_answer(url: str, call: Call[Any], error: httpx.RequestError) -> ApiRefused:
    """Return the exception for a request that got no answer."""
    message = f"{url} does not answer: {_cause(error)}."
    if call.method != "GET" and not not_sent(error):
        message = f"{message} The request may have been carried out: check before you send it again."
        if call.idempotency_key:
            message = f"{message} With the Idempotency-Key {call.idempotency_key} it takes effect once."
    return ApiRefused(message, "Start the web server, or correct the URL.", None, "no-answer")


def not_sent(error: httpx.RequestError) -> bool:
    """Return whether a request certainly has not reached the server."""
    return isinstance(error, httpx.ConnectError | httpx.ConnectTimeout | httpx.PoolTimeout)


def is_untrusted(error: BaseException | None) -> bool:
    """Return whether the server's certificate is not trusted: another attempt cannot help."""
    while error is not None:
        if isinstance(error, ssl.SSLCertVerificationError):
            return True
        error = error.__cause__ or error.__context__
    return False


def _cause(error: BaseException) -> str:
    """Return why there is no answer, as the system says it: "Connection refused"."""
    deepest, words = error, ""
    while deepest is not None:
        if isinstance(deepest, ssl.SSLCertVerificationError):
            words = f"certificate verify failed: {deepest.verify_message}"
        elif isinstance(deepest, OSError) and deepest.strerror:
            words = deepest.strerror
        if deepest.__cause__ is None and deepest.__context__ is None:
            break
        deepest = deepest.__cause__ or deepest.__context__  # type: ignore[assignment]  # one of them is there
    if isinstance(error, httpx.TimeoutException):
        words = "timed out"
    return (words or str(error) or type(error).__name__).rstrip(".")


def _problem(answer: httpx.Response) -> Problem:
    try:
        document = answer.json()
    except ValueError:
        return {}
    return document if isinstance(document, dict) else {}


def _errors(problem: Problem) -> list[PayloadError]:
    """Return the errors of a problem document; those of a query parameter point to its name."""
    return [
        PayloadError(each["pointer"] if "pointer" in each else f"/{each['parameter']}", each["message"])
        for each in problem.get("errors", ())
    ]


def _number(problem: Problem) -> int:
    """Return the first number in the detail of a problem: a limit."""
    match = re.search(r"\d[\d,]*", problem["detail"])
    return int(match[0].replace(",", "")) if match else 0


def _options(problem: Problem, call: Call[Any]) -> TaskQueueError | None:
    if (call.method, call.path) != ("POST", "/tasks"):
        return None
    return InvalidOptions(_errors(problem) or [PayloadError("", problem["detail"])])


def _too_large(problem: Problem, call: Call[Any]) -> TaskQueueError | None:
    if call.path == "/files":
        return FileTooLarge(_number(problem))
    return BatchTooLarge(_number(problem)) if problem["title"] == "The batch is too large" else None


def _task_type(problem: Problem, call: Call[Any]) -> TaskQueueError:
    return UnknownJobType(call.about, problem["known"])


def _queue(problem: Problem, call: Call[Any]) -> TaskQueueError:
    named = re.search(r"'(.*?)'", problem["detail"])
    return UnknownQueue(named[1] if named else call.about, problem["known"])


def _status(problem: Problem, call: Call[Any]) -> TaskQueueError:
    return WrongStatus(call.about, problem["task_status"], "")


MAKERS: dict[str, Callable[[Problem, Call[Any]], TaskQueueError | None]] = {
    "unknown-task-type": _task_type,
    "unknown-queue": _queue,
    "invalid-payload": lambda problem, call: InvalidPayload(call.about, _errors(problem)),
    "invalid-options": lambda problem, call: InvalidOptions(_errors(problem)),
    "invalid-parameter": _options,
    "unknown-parameter": _options,
    "invalid-batch": lambda problem, call: InvalidBatch(_errors(problem), _number(problem), int(call.about)),
    "too-large": _too_large,
    "unknown-batch": lambda problem, call: UnknownBatch(call.about),
    "invalid-schedule-name": lambda problem, call: InvalidScheduleName(call.path.rpartition("/")[2]),
    "too-many-schedules": lambda problem, call: TooManySchedules(_number(problem)),
    "unknown-schedule": lambda problem, call: UnknownSchedule(call.about),
    "unknown-parent": lambda problem, call: UnknownParent(problem["parent"]),
    "idempotency-mismatch": lambda problem, call: IdempotencyMismatch(),
    "still-processing": lambda problem, call: StillProcessing(),
    "unknown-task": lambda problem, call: UnknownTask(call.about),
    "wrong-status": _status,
    "too-many-match": lambda problem, call: TooManyMatch(int(call.about)),
    "unknown-file": lambda problem, call: UnknownFile(call.about),
    "files-unavailable": lambda problem, call: FilesUnavailable(problem["detail"]),
    "queue-unavailable": lambda problem, call: QueueUnavailable(problem["detail"], problem.get("id")),
}
"""How an exception is made from a problem document; one that does not fit the call becomes an `ApiRefused`."""
