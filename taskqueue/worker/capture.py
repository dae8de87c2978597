"""Captures what a job logs, prints and reports as its progress, and sends it to Redis while the job runs.

Lines wait in memory for about FLUSH_SECONDS. Those that still wait when the job ends go along with the call that
settles the job: a job of a few lines costs no extra round trip, and a silent one costs nothing. A thread sends the
others, on a connection of its own: while Redis is away, the job does not wait, and its latest lines are kept.

What child processes of a job print, or a C library, goes to the worker's own output only.
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
from taskqueue.worker.log_setup import LogSetup

FLUSH_SECONDS = PROGRESS_INTERVAL_SECONDS
MAX_WAITING = 200  # lines; of a job that writes more in FLUSH_SECONDS the oldest are lost
WORKER_LOGGERS = "taskqueue.worker"  # their lines are about the worker, and belong to no job


class CapturedOutput(NamedTuple):
    """The output of a run that is not in Redis yet."""

    attempt: int
    lines: list[LogLine]
    progress: Progress | None = None

    def arguments(self) -> Iterator[str | int]:
        """Yield ARGV[20…] of settle_and_claim.lua."""
        yield self.attempt
        yield self.progress.text() if self.progress else ""
        for at, level, line in self.lines:
            yield from (f"{at:.3f}", level, line)


class Capture(logging.Handler):
    """Captures the output of the job that a work-horse runs."""

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
        self._has_output = False
        self._news = threading.Event()
        self._sending = threading.Lock()
        self._sender: threading.Thread | None = None
        self._printed: list[Printed] = []

    def install(self) -> None:
        """Start to capture all that this process logs, prints and reports."""
        self._printed = [Printed(sys.stdout, "stdout", self), Printed(sys.stderr, "stderr", self)]
        logging.getLogger().addHandler(self)
        self._log_setup = LogSetup()
        send_progress_by(self.take_progress)
        os.register_at_fork(after_in_child=lambda: send_progress_by(None))  # no thread would send it there

    def begin(self, job: RegisteredJob) -> None:
        """Take all output from now on as this job's."""
        self._task, self._attempt = job.id, job.attempt
        self._has_output = False
        self._channel.last_line = ""
        set_running_job(job)
        sys.stdout, sys.stderr = self._printed  # the job before may have replaced them

    def restore_logging(self) -> None:
        """Put logging back as it was before the first job: this job may have configured it."""
        self._log_setup.restore()

    def end(self) -> CapturedOutput | None:
        """Stop, and return the last output; None if neither this attempt nor an earlier one can have had any."""
        self.restore_logging()
        for printed in self._printed:
            printed.end()
        set_running_job(None)
        self._task = ""
        if not self._has_output:
            # An earlier attempt may have had some: the last attempt sets the lifetime of all lines.
            return CapturedOutput(self._attempt, []) if self._attempt > 1 else None
        with self._sending:
            return CapturedOutput(self._attempt, *self._take_waiting())

    def emit(self, record: logging.LogRecord) -> None:
        """Take a log record, unless it is the worker's own."""
        if not record.name.startswith(WORKER_LOGGERS):
            self.take_line(record.levelname, self.format(record))

    def take_line(self, level: str, line: str) -> None:
        """Take one line of the job."""
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

    def take_progress(self, task: str, progress: Progress) -> None:
        """Take how far the job is; replaces an earlier report that is not sent yet."""
        if task != self._task:  # a thread of an earlier job
            return
        self.acquire()
        try:
            self._progress = progress
        finally:
            self.release()
        self._wake_sender()

    def _wake_sender(self) -> None:
        self._has_output = True
        if not self._news.is_set():
            self._news.set()
            if self._sender is None:
                self._sender = threading.Thread(target=self._send_forever, name="sender", daemon=True)
                self._sender.start()

    def _take_waiting(self) -> tuple[list[LogLine], Progress | None]:
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

    def _send_forever(self) -> None:
        connection = connect_for_requests(self._connection)
        while True:
            self._news.wait()
            self._news.clear()
            time.sleep(FLUSH_SECONDS)
            with self._sending:
                if self._task:
                    self._send(connection)

    def _send(self, connection: Redis) -> None:
        lines, progress = self._take_waiting()
        try:
            if progress:
                write_progress(connection, self._task, progress)
                progress = None
            if lines:
                write_lines(connection, self._task, self._attempt, lines, self._ttl)
        except RedisError:  # the job goes on, and this is sent again later
            self._give_back(lines, progress)


class Printed:
    """Standard output or standard error, with a copy for the capture.

    Writes whole lines, so that they do not mix with those of the log; as JSON if the log is JSON.
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
        """Write each whole line; the begun one waits for its end, up to MAX_LINE_CHARACTERS."""
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
        self._capture.take_line(self._name, line)
        if self._json:
            record = {"name": self._name, "levelname": self._name, "msg": line}
            line = self._json.format(logging.makeLogRecord(record))
        encoding = self._stream.encoding
        self._stream.write(line.encode(encoding, "backslashreplace").decode(encoding) + "\n")

    def writelines(self, lines: Iterable[str]) -> None:
        """Write all these texts, as `io.TextIOBase` does."""
        for line in lines:
            self.write(line)

    def end(self) -> None:
        """Write a line that has no end, and flush."""
        if not self._is_used:
            return
        if self._begun:
            self.write("\n")
        self._is_used = False
        self._stream.flush()

    def close(self) -> None:
        """Do nothing: the next job prints, too."""

    def __getattr__(self, name: str) -> Any:
        """Leave everything else to the real stream."""
        return getattr(self._stream, name)
