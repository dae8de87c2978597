"""Sends requests over HTTP, again where that is safe, and reads streams of events: for both clients."""

import os
import ssl
import time
from collections.abc import AsyncGenerator, Callable, Iterator
from typing import Any, TypeVar, cast

import anyio
import httpx
from httpx_sse import EventSource

from taskqueue.client import address
from taskqueue.client.attempts import Attempts
from taskqueue.client.call import MAX_PAGE, Call, Page
from taskqueue.client.following import SILENCE_SECONDS, Deadline, Following
from taskqueue.client.problems import not_this_api
from taskqueue.client.records import Event

T = TypeVar("T")


class Connection:
    """The connections of one client to its server. One instance serves all threads of a process."""

    def __init__(
        self,
        url: str,
        key: str | None,
        timeout: float,
        retry_seconds: float,
        verify: ssl.SSLContext | bool,
        transport: httpx.BaseTransport | None,
    ) -> None:
        self.url = address.checked_url(url)
        self._options: dict[str, Any] = {
            "headers": address.headers(key),
            "timeout": timeout,
            "verify": address.trust(verify) if self.url.startswith("https:") else False,
            "transport": transport,
        }
        self._timeout = timeout
        self._retry_seconds = retry_seconds
        self._connect()

    def _connect(self) -> None:
        self._process = os.getpid()
        self._http = httpx.Client(**self._options)

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def following(self, task_id: str) -> Following:
        """Return the state of following a task."""
        return Following(self.url, task_id, self._retry_seconds)

    def send(self, call: Call[T]) -> T:
        """Send a request, and return what its answer says."""
        if self._process != os.getpid():  # a fork: two processes must not read from one connection
            self._connect()
        attempts = Attempts(self.url, call, self._retry_seconds)
        while True:
            try:
                answer = self._http.send(_request(self._http, self.url, call, self._timeout))
            except httpx.RequestError as error:
                pause: float | None = attempts.after_error(error)
            else:
                pause = attempts.after_answer(answer)
            if pause is None:
                return _read(call, answer)
            time.sleep(pause)

    def rows(self, request: Callable[[int, str | None], Call[Page[T]]], limit: int | None = None) -> Iterator[T]:
        """Yield the rows of a list, at most `limit`; the next page is asked for when it is needed.

        request: Makes the request for a page, from how many rows it may have and the `next` of the page before.
        """
        left, cursor = limit, None
        while left is None or left > 0:
            page = self.send(request(min(left or MAX_PAGE, MAX_PAGE), cursor))
            yield from page.rows
            left = None if left is None else left - len(page.rows)
            cursor = page.next
            if cursor is None:
                return

    def follow(self, following: Following, deadline: Deadline) -> Iterator[Event]:
        """Yield the events of a task, until it has ended or the time is over."""
        if self._process != os.getpid():
            self._connect()
        while deadline.left > 0 and not following.has_ended:
            pause = 0.0
            try:
                with self._http.stream(
                    "GET",
                    self.url + following.call.path,
                    headers=following.headers,
                    timeout=httpx.Timeout(self._timeout, read=deadline.read_seconds()),
                ) as answer:
                    if answer.status_code != 200:
                        answer.read()
                    is_open = following.opened(answer)
                    if is_open:
                        source = EventSource(cast("httpx.Response", _UntilDeadline(answer, deadline)))
                        for sse in source.iter_sse():
                            if event := following.received(sse):
                                yield event
                            if following.has_ended:
                                return
                    if not (is_open and deadline.is_too_close()):
                        pause = following.pause_seconds
            except httpx.RequestError as error:
                if deadline.left > 0:
                    following.broke_off(error)
                    pause = following.pause_seconds
            time.sleep(max(0.0, min(pause, deadline.left)))


class AsyncConnection:
    """The connections of one asynchronous client to its server."""

    def __init__(
        self,
        url: str,
        key: str | None,
        timeout: float,
        retry_seconds: float,
        verify: ssl.SSLContext | bool,
        transport: httpx.AsyncBaseTransport | None,
    ) -> None:
        self.url = address.checked_url(url)
        self._timeout = timeout
        self._retry_seconds = retry_seconds
        self._http = httpx.AsyncClient(
            headers=address.headers(key),
            timeout=timeout,
            verify=address.trust(verify) if self.url.startswith("https:") else False,
            transport=transport,
        )

    async def close(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    def following(self, task_id: str) -> Following:
        """Return the state of following a task."""
        return Following(self.url, task_id, self._retry_seconds)

    async def send(self, call: Call[T]) -> T:
        """Send a request, and return what its answer says."""
        attempts = Attempts(self.url, call, self._retry_seconds)
        while True:
            try:
                answer = await self._http.send(_request(self._http, self.url, call, self._timeout))
            except httpx.RequestError as error:
                pause: float | None = attempts.after_error(error)
            else:
                pause = attempts.after_answer(answer)
            if pause is None:
                return _read(call, answer)
            await anyio.sleep(pause)

    async def rows(
        self, request: Callable[[int, str | None], Call[Page[T]]], limit: int | None = None
    ) -> AsyncGenerator[T]:
        """Yield the rows of a list, at most `limit`; the next page is asked for when it is needed.

        request: Makes the request for a page, from how many rows it may have and the `next` of the page before.
        """
        left, cursor = limit, None
        while left is None or left > 0:
            page = await self.send(request(min(left or MAX_PAGE, MAX_PAGE), cursor))
            for row in page.rows:
                yield row
            left = None if left is None else left - len(page.rows)
            cursor = page.next
            if cursor is None:
                return

    async def follow(self, following: Following) -> AsyncGenerator[Event]:
        """Yield the events of a task, until it has ended."""
        while not following.has_ended:
            try:
                async with self._http.stream(
                    "GET",
                    self.url + following.call.path,
                    headers=following.headers,
                    timeout=httpx.Timeout(self._timeout, read=SILENCE_SECONDS),
                ) as answer:
                    if answer.status_code != 200:
                        await answer.aread()
                    if following.opened(answer):
                        async for sse in EventSource(answer).aiter_sse():
                            if event := following.received(sse):
                                yield event
                            if following.has_ended:
                                return
            except httpx.RequestError as error:
                following.broke_off(error)
            await anyio.sleep(following.pause_seconds)


class _UntilDeadline:
    """The part of a response that `EventSource` uses. It ends before a read could take longer than is left."""

    def __init__(self, answer: httpx.Response, deadline: Deadline) -> None:
        self.headers = answer.headers
        self._answer = answer
        self._deadline = deadline

    def iter_text(self) -> Iterator[str]:
        """Yield the text as it comes."""
        for text in self._answer.iter_text():
            yield text
            if self._deadline.is_too_close():
                return


class _Unlogged(httpx.URL):
    """A URL whose text lacks the query: httpx logs each URL, and a `callback_url` may contain a secret."""

    def __str__(self) -> str:
        return str(self.copy_with(query=None))


def _request(
    http: httpx.Client | httpx.AsyncClient, url: str, call: Call[Any], timeout_seconds: float
) -> httpx.Request:
    """Return the request of a call. Its URL has the query, but shows it nowhere."""
    request = http.build_request(
        call.method,
        url + call.path,
        params=call.params or None,
        content=call.content,
        headers=call.headers,
        timeout=httpx.Timeout(timeout_seconds, read=timeout_seconds + call.wait_seconds),
    )
    request.url = _Unlogged(request.url)
    return request


def _read(call: Call[T], answer: httpx.Response) -> T:
    """Return what an answer says. Raises `ApiRefused` if it is not one of this API."""
    try:
        return call.read(answer)
    except (KeyError, TypeError, ValueError):
        raise not_this_api(answer) from None
