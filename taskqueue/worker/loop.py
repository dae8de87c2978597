"""A worker's event loop: one thread that waits for sockets, signals and timers, also while Redis is away."""

import logging
import selectors
import signal
import socket
import time
from collections.abc import Callable
from typing import Any

from redis.exceptions import RedisError, ResponseError

log = logging.getLogger(__name__)

REFUSED_SECONDS = 10.0  # a full Redis refuses everything: it is logged this often


class Loop:
    """Calls what is due. An absence of Redis ends nothing: the horses go on, and each timer tries again."""

    def __init__(self, *, note_loop: Callable[[], None], lose_touch: Callable[[], bool]) -> None:
        self.selector = selectors.DefaultSelector()
        self._note_loop = note_loop
        self._lose_touch = lose_touch  # notes that Redis did not answer; whether that is news
        self._timers: list[tuple[Callable[[], object], float]] = []
        self._due: list[float] = []
        self._refused_at = float("-inf")

    def every(self, seconds: float, act: Callable[[], object]) -> None:
        """Call `act` at once, and then every so many seconds; what is due together runs in this order."""
        self._timers.append((act, seconds))
        self._due.append(0.0)

    def wake_on_signals(self) -> None:
        """End the wait at each signal that has a handler, a child's end included."""
        self._wakeup, self._wakeup_writes = socket.socketpair()
        self._wakeup.setblocking(False)
        self._wakeup_writes.setblocking(False)
        signal.set_wakeup_fd(self._wakeup_writes.fileno(), warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        self.selector.register(self._wakeup, selectors.EVENT_READ, lambda: self._wakeup.recv(4096))

    def run_once(self) -> None:
        """Call the timers that are due, wait until the next one, and call what the sockets are registered with."""
        now = time.monotonic()
        for index, (act, seconds) in enumerate(self._timers):
            if now >= self._due[index]:
                self._due[index] = now + seconds
                self.attempt(act)
        for key, _ in self.selector.select(max(0.0, min(self._due) - time.monotonic())):
            self.attempt(key.data)

    def attempt(self, act: Callable[[], Any]) -> None:
        """Call `act`; log the driver's errors instead of raising them."""
        self._note_loop()
        try:
            act()
        except ResponseError as error:
            if time.monotonic() - self._refused_at > REFUSED_SECONDS:
                self._refused_at = time.monotonic()
                log.warning("Redis refused: %s", error)
        except RedisError as error:
            if self._lose_touch():
                log.warning("Redis does not answer the worker (%s); it tries again until Redis is back", error)
