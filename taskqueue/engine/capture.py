"""What a job logs and prints, caught in its work-horse and sent to Redis while it runs.

Lines wait in memory for at most FLUSH_SECONDS. Those that still wait when the job ends go along with the turn that
settles it: a job that says a few words costs no round trip more, and a silent one costs nothing.

What a job's child processes print, or a C library does, goes to the worker's own output only.
"""

import logging
import sys
import threading
import time
from collections import deque
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple, TextIO

from redis import Redis
from redis.exceptions import RedisError

from taskqueue.engine.slot import Slot
from taskqueue.logs import MAX_LINE_CHARACTERS, LogLine, write_lines

FLUSH_SECONDS = 0.1
MAX_WAITING = 200  # lines; who says more in FLUSH_SECONDS loses the oldest of them
ENGINE = "taskqueue.engine"  # its lines tell the worker's story, not the job's


class Said(NamedTuple):
    """What a run has said that is not in Redis yet."""

    attempt: int
    lines: list[LogLine]

    def arguments(self) -> Iterator[str | int]:
        """As turn.lua takes them."""
        yield self.attempt
        for at, level, line in self.lines:
            yield from (f"{at:.3f}", level, line)


class Capture(logging.Handler):
    """The lines of the job that a work-horse runs."""

    def __init__(self, slot: Slot, connection: Redis, ttl: int) -> None:
        super().__init__()
        self.setFormatter(logging.Formatter("%(message)s"))
        self._slot = slot
        self._connection = connection
        self._ttl = ttl  # seconds; when the job has ended, its lines live as long as it does
        self._task = ""
        self._attempt = 0
        self._waiting: deque[LogLine] = deque(maxlen=MAX_WAITING)
        self._lost = 0
        self._has_spoken = False
        self._news = threading.Event()
        self._sending = threading.Lock()
        self._sender: threading.Thread | None = None
        self._printed: list[Printed] = []

    def install(self) -> None:
        """Hear everything that this process logs and prints."""
        logging.getLogger().addHandler(self)
        self._printed = [Printed(sys.stdout, "stdout", self), Printed(sys.stderr, "stderr", self)]
        sys.stdout, sys.stderr = self._printed

    def begin(self, task: str, attempt: int) -> None:
        """From now on it is this task that speaks."""
        self._task, self._attempt = task, attempt
        self._has_spoken = False
        self._slot.last_line = ""

    def end(self) -> Said | None:
        """The task has ended: what it said last; None where neither this attempt nor an earlier one spoke."""
        for printed in self._printed:
            printed.end()
        self._task = ""
        if not self._has_spoken:
            # An earlier attempt may have: with its last one, the lifetime of its lines is set.
            return Said(self._attempt, []) if self._attempt > 1 else None
        with self._sending:
            return Said(self._attempt, self._taken())

    def emit(self, record: logging.LogRecord) -> None:
        """Take what was logged."""
        if not record.name.startswith(ENGINE):
            self.say(record.levelname, self.format(record))

    def say(self, level: str, line: str) -> None:
        """Take one line."""
        if not self._task:
            return
        line = line[:MAX_LINE_CHARACTERS].encode(errors="replace").decode()
        self._slot.last_line = line
        self.acquire()  # logging's own lock, which is never held in a child process that a job forks
        try:
            self._lost += len(self._waiting) == MAX_WAITING
            self._waiting.append(LogLine(time.time(), level, line))
            self._has_spoken = True
        finally:
            self.release()
        if not self._news.is_set():
            self._news.set()
            if self._sender is None:
                self._sender = threading.Thread(target=self._send_now_and_then, name="log lines", daemon=True)
                self._sender.start()

    def _taken(self) -> list[LogLine]:
        self.acquire()
        try:
            lines, lost = list(self._waiting), self._lost
            self._waiting.clear()
            self._lost = 0
        finally:
            self.release()
        if lost:
            lines.insert(0, LogLine(time.time(), "WARNING", f"({lost} lines are left out here)"))
        return lines

    def _send_now_and_then(self) -> None:
        while True:
            self._news.wait()
            self._news.clear()
            time.sleep(FLUSH_SECONDS)
            with self._sending:
                task, attempt = self._task, self._attempt
                if task and (lines := self._taken()):
                    try:
                        write_lines(self._connection, task, attempt, lines, self._ttl)
                    except RedisError:  # the job goes on; what it says is not worth more
                        self._lost += len(lines)


class Printed:
    """Standard output or standard error, which a capture hears, too."""

    def __init__(self, stream: TextIO, name: str, capture: Capture) -> None:
        self._stream = stream
        self._name = name
        self._capture = capture
        self._begun = ""  # of a line that has no end yet
        self._is_used = False

    def write(self, text: str) -> int:
        """Write, and tell each line that is whole."""
        self._is_used = True
        *lines, begun = (self._begun + text).split("\n")
        for line in lines:
            self._capture.say(self._name, line)
        self._begun = begun[:MAX_LINE_CHARACTERS]
        return self._stream.write(text)

    def writelines(self, lines: Iterable[str]) -> None:
        """As a stream has it."""
        for line in lines:
            self.write(line)

    def end(self) -> None:
        """Tell and flush what is left."""
        if not self._is_used:
            return
        if self._begun:
            self._capture.say(self._name, self._begun)
        self._begun, self._is_used = "", False
        self._stream.flush()

    def __getattr__(self, name: str) -> Any:
        """Whatever else a stream can do, the real one does."""
        return getattr(self._stream, name)
