"""The output of one run: what it has logged, printed and reported as its progress, until that is in Redis."""

import threading
import time
from collections import deque
from collections.abc import Iterator
from contextvars import ContextVar
from typing import NamedTuple

from taskqueue.run.context import Progress
from taskqueue.tasks.log_lines import LogLine

MAX_WAITING = 200  # lines; of a job that writes more between two sendings the oldest are lost


class CapturedOutput(NamedTuple):
    """The output of a run that is not in Redis yet."""

    attempt: int
    lines: list[LogLine]
    progress: Progress | None = None

    def arguments(self) -> Iterator[str | int]:
        """Yield the fields of an outcome from `attempt` on, as settle_and_claim.lua takes them."""
        yield self.attempt
        yield self.progress.text() if self.progress else ""
        for at, level, line in self.lines:
            yield from (f"{at:.3f}", level, line)


class RunOutput:
    """The output of one run, as far as it is not in Redis yet."""

    def __init__(self, task: str, attempt: int) -> None:
        self.task = task
        self.attempt = attempt
        self.has_any = False  # the run has had some output
        self.begun = {"stdout": "", "stderr": ""}  # printed lines that have no end yet
        self.is_over = False
        self.sending = threading.Lock()  # while the sender has some of it
        self.progress: Progress | None = None
        self._lines: deque[LogLine] = deque(maxlen=MAX_WAITING)
        self._lost = 0

    # The caller holds the lock of the capture.

    def add(self, line: LogLine) -> None:
        """Add one line; the oldest is lost if there are too many."""
        self._lost += len(self._lines) == MAX_WAITING
        self._lines.append(line)

    def take(self) -> tuple[list[LogLine], Progress | None]:
        """Return all, and keep nothing."""
        lines, lost, progress = list(self._lines), self._lost, self.progress
        self._lines.clear()
        self._lost, self.progress = 0, None
        if lost:
            lines.insert(0, LogLine(time.time(), "WARNING", f"({lost} lines are left out here)"))
        return lines, progress

    def give_back(self, lines: list[LogLine], progress: Progress | None) -> None:
        """Take back what could not be sent, before what was added meanwhile."""
        lines += self._lines
        self._lost += max(0, len(lines) - MAX_WAITING)
        self._lines.extend(lines[-MAX_WAITING:])
        self.progress = self.progress or progress


current_output: ContextVar[RunOutput | None] = ContextVar("current_output", default=None)
"""The run that this thread or coroutine of an I/O process belongs to."""
