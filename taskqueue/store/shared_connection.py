"""Two connections to Redis for all short calls of a process: calls that wait at the same time go together.

A call that comes alone is sent at once, and a second one, too. Calls that come while two are on their way wait,
and then share one write and one read. Each caller goes on only when Redis has answered its own call. Under gevent
redis-py's pool takes more time than the call: it polls each connection before its use, and each poll goes through
gevent's loop.
"""

import os
import threading
import time
import weakref
from typing import Any

from redis.connection import Connection, ConnectionPool
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisError, ResponseError
from redis.exceptions import TimeoutError as RedisTimeoutError

MAX_CALL_BYTES = 64 * 1024  # a larger call has a connection of its own: it would hold up those behind it

MAX_LEADERS = 2  # calls, or groups of calls, that are on their way at the same time
TRUSTED_SECONDS = 1.0  # a connection that was idle for longer is checked before its use: Redis may have closed it


class NotSent(Exception):
    """A call that never left this process; the driver's error is its cause."""


class _Call:
    """A call, and its answers or its error."""

    __slots__ = ("answers", "count", "error", "is_gone", "leads", "packed", "woken")

    def __init__(self, packed: bytes, count: int) -> None:
        self.packed = packed
        self.count = count
        self.answers: list[Any] = []
        self.error: Exception | None = None
        self.leads = False
        self.is_gone = False
        self.woken: threading.Lock | None = None

    def result(self) -> list[Any]:
        if self.error:
            raise self.error
        return self.answers


class SharedConnection:
    """The connections of this pool that all threads of a process share."""

    def __init__(self, pool: ConnectionPool) -> None:
        self._pool = pool
        self._begin()
        _all.add(self)

    def _begin(self) -> None:
        """Begin with no connection and no call: a child has those of its parent, whose threads are not there."""
        self._lock = threading.Lock()  # gevent may have replaced the class since this module was imported
        self._waiting: list[_Call] = []
        self._leaders = 0
        self._idle: list[tuple[Connection, float]] = []  # and when each was used last

    def ask(self, packed: bytes, count: int = 1) -> list[Any]:
        """Send `count` packed commands, and return their answers; an answer may be a `ResponseError`.

        The commands may have been executed even if this raises one of the driver's errors, but not if it raises
        `NotSent`.
        """
        call = _Call(packed, count)
        with self._lock:
            if self._leaders < MAX_LEADERS:
                self._leaders += 1
                call.leads = True
            else:
                call.woken = threading.Lock()
                call.woken.acquire()
                self._waiting.append(call)
        if call.woken:
            self._wait(call)
        if call.leads:
            self._lead(call)
        return call.result()

    def _wait(self, call: _Call) -> None:
        """Wait until another caller has brought this call's answers, or until this one leads."""
        try:
            call.woken.acquire()  # type: ignore[union-attr]  # it waits, so it has a lock
        except BaseException:  # the server stops this request
            with self._lock:
                call.is_gone = True
                if call in self._waiting:
                    self._waiting.remove(call)
            if call.leads:
                self._hand_over()
            raise

    def _lead(self, call: _Call) -> None:
        """Send this call and all that wait, and bring each of them its answers."""
        with self._lock:
            calls, self._waiting = [call, *self._waiting], []
        try:
            self._exchange(calls)
        finally:
            self._hand_over()
            for other in calls[1:]:
                other.woken.release()  # type: ignore[union-attr]

    def _hand_over(self) -> None:
        """Let the first of those that wait lead."""
        with self._lock:
            following = self._waiting.pop(0) if self._waiting else None
            if following is None:
                self._leaders -= 1
        if following:
            following.leads = True
            following.woken.release()  # type: ignore[union-attr]

    def _exchange(self, calls: list[_Call]) -> None:
        """Send all calls in one write and read their answers. An error is that of each call without answers."""
        connection = None
        try:
            connection = self._trusted()
            connection.send_packed_command([b"".join([call.packed for call in calls])])
            for call in calls:
                for _ in range(call.count):
                    call.answers.append(_answer(connection))
            self._idle.append((connection, time.monotonic()))
        except BaseException as error:
            sent = connection is not None
            if connection:  # answers that are still to come belong to no later call
                connection.disconnect()
                self._pool.release(connection)
            of_redis = isinstance(error, RedisError | OSError)
            if not of_redis and not sent:  # the server ends this request: the others need another leader
                with self._lock:
                    self._waiting[:0] = [call for call in calls[1:] if not call.is_gone]
                del calls[1:]
            for call in calls:
                if len(call.answers) < call.count:
                    call.error = _own(error, sent)
            if isinstance(error, RedisTimeoutError):
                calls += self._give_up(error)
            if not of_redis:
                raise

    def _give_up(self, error: RedisTimeoutError) -> list[_Call]:
        """Return those that wait, without a try of their own: they have waited while Redis hung."""
        with self._lock:
            calls, self._waiting = self._waiting, []
        for call in calls:
            call.error = _own(error, sent=False)
        return calls

    def _trusted(self) -> Connection:
        """Return a connection that Redis has not closed, as far as this side can know."""
        while True:
            with self._lock:
                if not self._idle:
                    break
                connection, used_at = self._idle.pop()
            if time.monotonic() - used_at < TRUSTED_SECONDS:
                return connection
            self._pool.release(connection)
        return self._pool.get_connection()  # which checks what it returns


_all = weakref.WeakSet[SharedConnection]()


def _begin_in_child() -> None:
    for shared in _all:
        shared._begin()


os.register_at_fork(after_in_child=_begin_in_child)


def _answer(connection: Connection) -> Any:
    """Return the next answer, an error of Redis too: it is one call's, and those behind it have their own."""
    try:
        return connection.read_response()
    except ResponseError as error:
        return error


def _own(error: BaseException, sent: bool) -> Exception:
    """Return the error for one of several callers: each raises its own, lest they share a traceback."""
    if isinstance(error, RedisError):
        own: Exception = type(error)(*error.args)
    else:
        own = RedisConnectionError(f"{type(error).__name__}: {error}")
    if sent:
        return own
    not_sent = NotSent(str(error))
    not_sent.__cause__ = own
    return not_sent
