"""The time limit of a job in a work-horse's main thread."""

import signal
from types import FrameType

from rq.timeouts import JobTimeoutException


class TimeLimit:
    """Raises RQ's `JobTimeoutException` in code that runs longer than so many seconds; -1: never."""

    def __init__(self) -> None:
        self._seconds = 0.0

    def __call__(self, seconds: float) -> "TimeLimit":
        """Set the limit for the next `with` block."""
        self._seconds = seconds
        return self

    def __enter__(self) -> None:
        if self._seconds > 0:
            if signal.getsignal(signal.SIGALRM) != self._expire:  # set once, or after a job's own
                signal.signal(signal.SIGALRM, self._expire)
            signal.setitimer(signal.ITIMER_REAL, self._seconds)

    def __exit__(self, *_: object) -> None:
        signal.setitimer(signal.ITIMER_REAL, 0)

    def _expire(self, number: int, frame: FrameType | None) -> None:
        raise JobTimeoutException(f"Task exceeded maximum timeout value ({self._seconds:g} seconds)")
