"""The HTTP API as the command line asks it: whatever goes wrong is one `ApiRefused`, with its mend."""

from collections.abc import Iterator, Mapping
from typing import Any

import urllib3
from urllib3.exceptions import ConnectTimeoutError, HTTPError, LocationParseError, SSLError

from taskqueue.errors import ApiRefused, InvalidSetting

TIMEOUT_SECONDS = 10.0
SILENCE_SECONDS = 40.0  # of an event stream, which says something every 15 seconds
CHUNK_BYTES = 64 * 1024
CORRECT = "Correct --url (or TASK_QUEUE_API)."
MENDS = {
    "no-key": "Set TASK_QUEUE_KEY to a key of this API.",
    "scope-missing": "Set TASK_QUEUE_KEY to a key that has it.",
    "other-task-type": "Set TASK_QUEUE_KEY to a key that is for it.",
    "queue-unavailable": "See to the Redis of the web server (its TASK_QUEUE_URL).",
}
"""By the kind of problem: see docs/api.md."""
PROBLEM = "urn:problem:"
NOT_OURS = ("", "not-found", "method-not-allowed")  # our API has all that is asked for here


class Api:
    """The API at a URL, asked with a key."""

    def __init__(self, url: str, key: str | None) -> None:
        """Raises `InvalidSetting`."""
        self.url = _checked_url(url)
        self._headers = {"Accept": "application/json"}
        if key:
            self._headers["Authorization"] = f"Bearer {_checked_key(key)}"
        self._http = urllib3.PoolManager(timeout=TIMEOUT_SECONDS, retries=False)

    def ask(self, method: str, address: str, *fields: str, **more: Any) -> dict[str, Any]:
        """The JSON object of the answer, which has these fields. Raises `ApiRefused`."""
        return self.told(address, self.send(method, address, **more), *fields)

    def told(self, address: str, answer: urllib3.BaseHTTPResponse, *fields: str) -> dict[str, Any]:
        """The same of an answer that is there."""
        told = _json(answer)
        if not (isinstance(told, dict) and all(field in told for field in fields)):
            raise self._not_ours(address, answer)
        return told

    def send(
        self, method: str, address: str, headers: Mapping[str, str] | None = None, **more: Any
    ) -> urllib3.BaseHTTPResponse:
        """The answer, if it is a good one. Raises `ApiRefused`, also at a redirect: the key is for this URL."""
        try:
            answer = self._http.request(
                method, self.url + address, headers=self._headers | dict(headers or {}), **more
            )
            if answer.status >= 300:
                raise self._refused(address, answer)  # its body is read there
        except HTTPError as error:
            raise self._silent(method, error) from error
        return answer

    def status(self, address: str) -> int:
        """The status of what is at this address, whatever it is. Raises `ApiRefused`."""
        try:
            return self._http.request("GET", self.url + address, headers=self._headers).status
        except HTTPError as error:
            raise self._silent("GET", error) from error

    def stream(self, address: str, headers: Mapping[str, str]) -> Iterator[bytes]:
        """What an event stream says, as it comes, until it ends. Raises `ApiRefused`, also where it breaks off."""
        timeout = urllib3.Timeout(connect=TIMEOUT_SECONDS, read=SILENCE_SECONDS)
        answer = self.send("GET", address, headers, timeout=timeout, preload_content=False)
        try:
            if not answer.headers.get("Content-Type", "").startswith("text/event-stream"):
                raise self._not_ours(address, answer)
            while chunk := answer.read1(CHUNK_BYTES, decode_content=True):
                yield chunk
        except HTTPError as error:
            raise self._silent("GET", error) from error
        finally:
            answer.close()

    def _refused(self, address: str, answer: urllib3.BaseHTTPResponse) -> ApiRefused:
        """What a problem document says (RFC 9457)."""
        problem = _json(answer)
        told = str(problem.get("type", "")) if isinstance(problem, dict) else ""
        kind = told.removeprefix(PROBLEM) if told.startswith(PROBLEM) else ""
        if kind in NOT_OURS:
            return self._not_ours(address, answer)
        return ApiRefused(problem.get("detail") or problem["title"], MENDS.get(kind, ""), answer.status)

    def _not_ours(self, address: str, answer: urllib3.BaseHTTPResponse) -> ApiRefused:
        found = f"{self.url}{address.partition('?')[0]} answers {answer.status}, but not as this API does."
        if 300 <= answer.status < 400:
            found = f"{found} It leads to {answer.headers.get('Location')}."
        mend = "Start the web server behind it." if answer.status in (502, 503, 504) else CORRECT
        return ApiRefused(found, mend, answer.status)

    def _silent(self, method: str, error: HTTPError) -> ApiRefused:
        cause = error.__cause__ or error.args[-1]
        why = str(getattr(cause, "strerror", None) or cause).rstrip(".")
        found = f"{self.url} does not answer: {why}."
        if method != "GET" and not isinstance(error, ConnectTimeoutError | SSLError):
            found = f"{found} It may have been done: look before you send it again."
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
            "TASK_QUEUE_KEY is no key: it must be one word, as `python -m taskqueue key` printed it."
        )
    return key


def _json(answer: urllib3.BaseHTTPResponse) -> Any:
    try:
        return answer.json()
    except ValueError:
        return None
