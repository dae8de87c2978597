"""The time limit of a job in a work-horse's main thread."""

import signal
from types import FrameType

from rq.timeouts import JobTimeoutException


class TimeLimit:
    """Raises RQ's `JobTimeoutException` in code that runs longer than so many seconds; -1: never."""

    def __init__(self) -> None:
        self._seconds = 0.0
        self._is_set_up = False

    def __call__(self, seconds: float) -> "TimeLimit":
        """Set the limit for the next `with` block."""
        self._seconds = seconds
        return self

    def __enter__(self) -> None:
        if not self._is_set_up:
            self._set_up()
        if self._seconds > 0:
            signal.setitimer(signal.ITIMER_REAL, self._seconds)

    def __exit__(self, *_: object) -> None:
        signal.setitimer(signal.ITIMER_REAL, 0)
        self._set_up()  # a job may have set a handler of its own; here, so that the next job begins sooner

    def _set_up(self) -> None:
        if signal.getsignal(signal.SIGALRM) != self._expire:
            signal.signal(signal.SIGALRM, self._expire)
        self._is_set_up = True

    def _expire(self, number: int, frame: FrameType | None) -> None:
        raise JobTimeoutException(f"Task exceeded maximum timeout value ({self._seconds:g} seconds)")
