"""What a job logs, prints and tells of its progress, caught in its work-horse and sent to Redis while it runs.

It waits in memory for about FLUSH_SECONDS. What still waits when the job ends goes along with the turn that
settles it: a job that says a few words costs no round trip more, and a silent one costs nothing. A thread sends
it, on a connection of its own: while Redis is away, the job does not wait, and what it says last is kept.

What a job's child processes print, or a C library does, goes to the worker's own output only.
"""

import logging
import os
import sys
import threading
import time
from collections import deque
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple, TextIO

from redis import Redis
from redis.exceptions import RedisError

from taskqueue.run.context import PROGRESS_INTERVAL_SECONDS, Progress, send_progress_by, write_progress
from taskqueue.store.connection import connect_for_requests
from taskqueue.tasks.log_lines import MAX_LINE_CHARACTERS, LogLine, write_lines
from taskqueue.tasks.running import set_running_job
from taskqueue.telemetry.log import JsonLine
from taskqueue.worker.horse_channel import HorseChannel
from taskqueue.worker.job import RegisteredJob

FLUSH_SECONDS = PROGRESS_INTERVAL_SECONDS
MAX_WAITING = 200  # lines; who says more in FLUSH_SECONDS loses the oldest of them
ENGINE = "taskqueue.worker"  # its lines tell the worker's story, not the job's


class CapturedOutput(NamedTuple):
    """What a run has said that is not in Redis yet."""

    attempt: int
    lines: list[LogLine]
    progress: Progress | None = None

    def arguments(self) -> Iterator[str | int]:
        """As turn.lua takes them."""
        yield self.attempt
        yield self.progress.text() if self.progress else ""
        for at, level, line in self.lines:
            yield from (f"{at:.3f}", level, line)


class Capture(logging.Handler):
    """What the job says that a work-horse runs."""

    def __init__(self, channel: HorseChannel, connection: Redis, ttl: int) -> None:
        super().__init__()
        self.setFormatter(logging.Formatter("%(message)s"))
        self._channel = channel
        self._connection = connection
        self._ttl = ttl  # seconds; when the job has ended, its lines live as long as it does
        self._task = ""
        self._attempt = 0
        self._waiting: deque[LogLine] = deque(maxlen=MAX_WAITING)
        self._progress: Progress | None = None  # that is not in Redis yet
        self._lost = 0
        self._has_spoken = False
        self._news = threading.Event()
        self._sending = threading.Lock()
        self._sender: threading.Thread | None = None
        self._printed: list[Printed] = []

    def install(self) -> None:
        """Hear everything that this process logs, prints and tells."""
        self._printed = [Printed(sys.stdout, "stdout", self), Printed(sys.stderr, "stderr", self)]
        logging.getLogger().addHandler(self)
        send_progress_by(self.tell)
        os.register_at_fork(after_in_child=lambda: send_progress_by(None))  # where no thread would send it

    def begin(self, job: RegisteredJob) -> None:
        """From now on it is this job that speaks."""
        self._task, self._attempt = job.id, job.attempt
        self._has_spoken = False
        self._channel.last_line = ""
        set_running_job(job)
        sys.stdout, sys.stderr = self._printed  # the job before may have put something else there

    def end(self) -> CapturedOutput | None:
        """The task has ended: what it said last; None where neither this attempt nor an earlier one spoke."""
        for printed in self._printed:
            printed.end()
        set_running_job(None)
        self._task = ""
        if not self._has_spoken:
            # An earlier attempt may have: with its last one, the lifetime of its lines is set.
            return CapturedOutput(self._attempt, []) if self._attempt > 1 else None
        with self._sending:
            return CapturedOutput(self._attempt, *self._taken())

    def emit(self, record: logging.LogRecord) -> None:
        """Take what was logged."""
        if not record.name.startswith(ENGINE):
            self.say(record.levelname, self.format(record))

    def say(self, level: str, line: str) -> None:
        """Take one line."""
        if not self._task:
            return
        line = line[:MAX_LINE_CHARACTERS].encode(errors="replace").decode()
        self._channel.last_line = line
        self.acquire()  # logging's own lock, which is never held in a child process that a job forks
        try:
            self._lost += len(self._waiting) == MAX_WAITING
            self._waiting.append(LogLine(time.time(), level, line))
        finally:
            self.release()
        self._wake_sender()

    def tell(self, task: str, progress: Progress) -> None:
        """Take how far the job is; what it told before is of no use any more."""
        if task != self._task:  # a thread of an earlier job
            return
        self.acquire()
        try:
            self._progress = progress
        finally:
            self.release()
        self._wake_sender()

    def _wake_sender(self) -> None:
        self._has_spoken = True
        if not self._news.is_set():
            self._news.set()
            if self._sender is None:
                self._sender = threading.Thread(target=self._send_now_and_then, name="sender", daemon=True)
                self._sender.start()

    def _taken(self) -> tuple[list[LogLine], Progress | None]:
        self.acquire()
        try:
            lines, lost, progress = list(self._waiting), self._lost, self._progress
            self._waiting.clear()
            self._lost, self._progress = 0, None
        finally:
            self.release()
        if lost:
            lines.insert(0, LogLine(time.time(), "WARNING", f"({lost} lines are left out here)"))
        return lines, progress

    def _give_back(self, lines: list[LogLine], progress: Progress | None) -> None:
        self.acquire()
        try:
            lines += self._waiting
            self._lost += max(0, len(lines) - MAX_WAITING)
            self._waiting.extend(lines[-MAX_WAITING:])
            self._progress = self._progress or progress
        finally:
            self.release()
        self._news.set()

    def _send_now_and_then(self) -> None:
        connection = connect_for_requests(self._connection)
        while True:
            self._news.wait()
            self._news.clear()
            time.sleep(FLUSH_SECONDS)
            with self._sending:
                if self._task:
                    self._send(connection)

    def _send(self, connection: Redis) -> None:
        lines, progress = self._taken()
        try:
            if progress:
                write_progress(connection, self._task, progress)
                progress = None
            if lines:
                write_lines(connection, self._task, self._attempt, lines, self._ttl)
        except RedisError:  # the job goes on; it is tried again
            self._give_back(lines, progress)


class Printed:
    """Standard output or standard error, which a capture hears, too.

    Line by line, so that they stay whole between those of the log; as JSON where the log is.
    """

    def __init__(self, stream: TextIO, name: str, capture: Capture) -> None:
        self._stream = stream
        self._name = name
        self._capture = capture
        self._begun = ""  # of a line that has no end yet
        self._is_used = False
        handlers = logging.getLogger().handlers
        self._json = next((each.formatter for each in handlers if isinstance(each.formatter, JsonLine)), None)

    def write(self, text: str) -> int:
        """Write and tell each line that is whole; what has no end yet waits for it, up to MAX_LINE_CHARACTERS."""
        self._is_used = True
        self._capture.acquire()  # several threads may print
        try:
            *lines, self._begun = (self._begun + text).split("\n")
            if len(self._begun) > MAX_LINE_CHARACTERS:
                lines.append(self._begun)
                self._begun = ""
            for line in lines:
                self._line(line)
        finally:
            self._capture.release()
        return len(text)

    def _line(self, line: str) -> None:
        self._capture.say(self._name, line)
        if self._json:
            record = {"name": self._name, "levelname": self._name, "msg": line}
            line = self._json.format(logging.makeLogRecord(record))
        encoding = self._stream.encoding
        self._stream.write(line.encode(encoding, "backslashreplace").decode(encoding) + "\n")

    def writelines(self, lines: Iterable[str]) -> None:
        """As a stream has it."""
        for line in lines:
            self.write(line)

    def end(self) -> None:
        """Tell and flush what is left."""
        if not self._is_used:
            return
        if self._begun:
            self.write("\n")
        self._is_used = False
        self._stream.flush()

    def close(self) -> None:
        """Nothing: the next job prints, too."""

    def __getattr__(self, name: str) -> Any:
        """Whatever else a stream can do, the real one does."""
        return getattr(self._stream, name)
