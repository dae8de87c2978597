"""Requests to the HTTP API. Every failure is an `ApiRefused`, which says what to do."""

from collections.abc import Iterator, Mapping
from typing import Any

import urllib3
from urllib3.exceptions import ConnectTimeoutError, HTTPError, LocationParseError, SSLError

from taskqueue.errors import ApiRefused, InvalidSetting

TIMEOUT_SECONDS = 10.0
SILENCE_SECONDS = 40.0  # of an event stream, which sends something every 15 seconds
CHUNK_BYTES = 64 * 1024
CORRECT = "Correct --url (or TASK_QUEUE_API)."
FIXES = {
    "no-key": "Set TASK_QUEUE_KEY to a key of this API.",
    "scope-missing": "Set TASK_QUEUE_KEY to a key that has this scope.",
    "other-task-type": "Set TASK_QUEUE_KEY to a key for this task type.",
    "queue-unavailable": "Check the Redis of the web server (its TASK_QUEUE_URL).",
}
"""What to do, by the type of the problem (docs/api.md)."""
PROBLEM = "urn:problem:"
NOT_THIS_API = ("", "not-found", "method-not-allowed")  # this API has every address that is used here


class Api:
    """A client of the HTTP API at a URL, with a key."""

    def __init__(self, url: str, key: str | None) -> None:
        """Raises `InvalidSetting` for a URL or a key that cannot be one."""
        self.url = _checked_url(url)
        self._headers = {"Accept": "application/json"}
        if key:
            self._headers["Authorization"] = f"Bearer {_checked_key(key)}"
        self._http = urllib3.PoolManager(timeout=TIMEOUT_SECONDS, retries=False)

    def ask(self, method: str, address: str, *fields: str, **more: Any) -> dict[str, Any]:
        """Send a request and return its JSON object, which has these fields. Raises `ApiRefused`."""
        return self.json_of(address, self.send(method, address, **more), *fields)

    def json_of(self, address: str, answer: urllib3.BaseHTTPResponse, *fields: str) -> dict[str, Any]:
        """Return the JSON object of an answer. Raises `ApiRefused` unless it has these fields."""
        body = _json(answer)
        if not (isinstance(body, dict) and all(field in body for field in fields)):
            raise self._not_this_api(address, answer)
        return body

    def send(
        self, method: str, address: str, headers: Mapping[str, str] | None = None, **more: Any
    ) -> urllib3.BaseHTTPResponse:
        """Send a request and return its answer below 300.

        Raises `ApiRefused`, also at a redirect: the key is for this URL.
        """
        try:
            answer = self._http.request(
                method, self.url + address, headers=self._headers | dict(headers or {}), **more
            )
            if answer.status >= 300:
                raise self._refused(address, answer)  # its body is read there
        except HTTPError as error:
            raise self._no_answer(method, error) from error
        return answer

    def status(self, address: str) -> int:
        """Return the status of the answer, whatever it is. Raises `ApiRefused` if there is none."""
        try:
            return self._http.request("GET", self.url + address, headers=self._headers).status
        except HTTPError as error:
            raise self._no_answer("GET", error) from error

    def stream(self, address: str, headers: Mapping[str, str]) -> Iterator[bytes]:
        """Yield the bytes of an event stream as they come, until it ends.

        Raises `ApiRefused`, also if the stream breaks off.
        """
        timeout = urllib3.Timeout(connect=TIMEOUT_SECONDS, read=SILENCE_SECONDS)
        answer = self.send("GET", address, headers, timeout=timeout, preload_content=False)
        try:
            if not answer.headers.get("Content-Type", "").startswith("text/event-stream"):
                raise self._not_this_api(address, answer)
            while chunk := answer.read1(CHUNK_BYTES, decode_content=True):
                yield chunk
        except HTTPError as error:
            raise self._no_answer("GET", error) from error
        finally:
            answer.close()

    def _refused(self, address: str, answer: urllib3.BaseHTTPResponse) -> ApiRefused:
        """Return the error that a problem document describes (RFC 9457)."""
        problem = _json(answer)
        uri = str(problem.get("type", "")) if isinstance(problem, dict) else ""
        kind = uri.removeprefix(PROBLEM) if uri.startswith(PROBLEM) else ""
        if kind in NOT_THIS_API:
            return self._not_this_api(address, answer)
        return ApiRefused(problem.get("detail") or problem["title"], FIXES.get(kind, ""), answer.status)

    def _not_this_api(self, address: str, answer: urllib3.BaseHTTPResponse) -> ApiRefused:
        found = f"{self.url}{address.partition('?')[0]} answers {answer.status}, but is not this API."
        if 300 <= answer.status < 400:
            found = f"{found} It redirects to {answer.headers.get('Location')}."
        fix = "Start the web server behind it." if answer.status in (502, 503, 504) else CORRECT
        return ApiRefused(found, fix, answer.status)

    def _no_answer(self, method: str, error: HTTPError) -> ApiRefused:
        cause = error.__cause__ or error.args[-1]
        why = str(getattr(cause, "strerror", None) or cause).rstrip(".")
        found = f"{self.url} does not answer: {why}."
        if method != "GET" and not isinstance(error, ConnectTimeoutError | SSLError):
            found = f"{found} The request may have been carried out: check before you send it again."
        return ApiRefused(found, "Start the web server, or correct --url (or TASK_QUEUE_API).")


def _checked_url(url: str) -> str:
    try:
        parts = urllib3.util.parse_url(url)
    except LocationParseError:
        parts = urllib3.util.Url()
    if parts.auth is not None:
        raise InvalidSetting(
            "--url (or TASK_QUEUE_API) takes no user and password: put the key in TASK_QUEUE_KEY."
        )
    if parts.scheme not in ("http", "https") or not parts.host or parts.query or parts.fragment:
        raise InvalidSetting(
            f"--url (or TASK_QUEUE_API) must be a URL such as https://jobs.example.com; got {url!r}"
        )
    return url.rstrip("/")


def _checked_key(key: str) -> str:
    if not (key.isascii() and key.isprintable() and " " not in key):
        raise InvalidSetting(
            "TASK_QUEUE_KEY is not a key: it must be one word, as `python -m taskqueue key` printed it."
        )
    return key


def _json(answer: urllib3.BaseHTTPResponse) -> Any:
    try:
        return answer.json()
    except ValueError:
        return None
