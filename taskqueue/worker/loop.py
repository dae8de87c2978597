"""A worker's event loop: one thread that waits for sockets, signals and timers, also while Redis is away."""

import selectors
import signal
import socket
import time
from collections.abc import Callable

from taskqueue.worker.boundary import Boundary

LONGEST_PAUSE_SECONDS = 5.0  # of a timer that fails; half of a lease, which a heartbeat must renew


class Loop:
    """Calls what is due. No error ends it: see boundary.py. Each timer tries again, after a pause that grows."""

    def __init__(self, boundary: Boundary) -> None:
        self.selector = selectors.DefaultSelector()
        self._boundary = boundary
        self._timers: list[tuple[Callable[[], object], float, Callable[[], bool]]] = []
        self._due: list[float] = []
        self._once: list[tuple[float, Callable[[], object]]] = []

    def every(self, seconds: float, act: Callable[[], object], when: Callable[[], bool] = lambda: True) -> None:
        """Call `act` at once, and then every so many seconds; what is due together runs in this order.

        While `when` returns false, `act` is not called, and the loop does not wake for it.
        """
        self._timers.append((act, seconds, when))
        self._due.append(0.0)

    def after(self, seconds: float, act: Callable[[], object]) -> None:
        """Call `act` once, in so many seconds."""
        self._once.append((time.monotonic() + seconds, act))

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
        for index, (act, seconds, when) in enumerate(self._timers):
            if now >= self._due[index] and when():
                self._boundary.attempt(act)
                pause = seconds * 2 ** min(self._boundary.failures(act), 10)
                self._due[index] = now + max(seconds, min(pause, LONGEST_PAUSE_SECONDS))
        for call in [call for call in self._once if call[0] <= now]:
            self._once.remove(call)
            self._boundary.attempt(call[1])
        timers = (due for due, (_, _, when) in zip(self._due, self._timers, strict=True) if when())
        due = min([*timers, *(at for at, _ in self._once)])
        for key, _ in self.selector.select(max(0.0, due - time.monotonic())):
            self._boundary.attempt(key.data)
            if failures := self._boundary.failures(key.data):  # its socket may stay readable: no busy loop
                time.sleep(min(failures * 0.05, LONGEST_PAUSE_SECONDS / 10))
