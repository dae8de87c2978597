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
from collections.abc import Callable, Iterable
from typing import Any, TextIO

from redis import Redis
from redis.exceptions import RedisError

from taskqueue.run.context import PROGRESS_INTERVAL_SECONDS, Progress, send_progress_by, write_progress
from taskqueue.store.connection import connect_for_requests
from taskqueue.tasks.log_lines import MAX_LINE_CHARACTERS, LogLine, write_lines
from taskqueue.tasks.running import set_running_job
from taskqueue.telemetry.log import JsonLine
from taskqueue.worker.job import RegisteredJob
from taskqueue.worker.log_setup import LogSetup
from taskqueue.worker.run_output import CapturedOutput, RunOutput, current_output

FLUSH_SECONDS = PROGRESS_INTERVAL_SECONDS
WORKER_LOGGERS = "taskqueue.worker"  # their lines are about the worker, and belong to no job


class Capture(logging.Handler):
    """Captures the output of the runs of one process.

    Here, that is the one run of a work-horse, with all of its threads. In the I/O process, each thread and
    coroutine knows its run: `SharedCapture`.
    """

    def __init__(self, connection: Redis, ttl: int, note_line: Callable[[str], None] = lambda line: None) -> None:
        super().__init__()
        self.setFormatter(logging.Formatter("%(message)s"))
        self._connection = connection
        self._ttl = ttl  # seconds; when the job has ended, its lines live as long as it does
        self._note_line = note_line  # called with the beginning of each line
        self._run: RunOutput | None = None
        self._silent: RunOutput | None = None  # of the last job, if it had no output
        self._with_news: set[RunOutput] = set()
        self._news = threading.Event()
        self._sender: threading.Thread | None = None
        self._printed: list[Printed] = []

    def current(self) -> RunOutput | None:
        """Return the run that the calling code belongs to."""
        return self._run

    def install(self) -> None:
        """Start to capture all that this process logs, prints and reports."""
        self._printed = [Printed(sys.stdout, "stdout", self), Printed(sys.stderr, "stderr", self)]
        logging.getLogger().addHandler(self)
        self._log_setup = LogSetup()
        send_progress_by(self.take_progress)
        os.register_at_fork(after_in_child=lambda: send_progress_by(None))  # no thread would send it there

    def begin(self, job: RegisteredJob) -> None:
        """Take all output from now on as this job's."""
        run = self._silent or RunOutput(job.id, job.attempt)  # one object serves all jobs without output
        run.task, run.attempt, run.is_over = job.id, job.attempt, False
        self._run = run
        self._note_line("")
        set_running_job(job)
        self.restore_streams()

    def restore_streams(self) -> None:
        """Put the captured standard output and error in place: the job before may have replaced them."""
        sys.stdout, sys.stderr = self._printed

    def restore_logging(self) -> None:
        """Put logging back as it was before the first job: this job may have configured it."""
        self._log_setup.restore()

    def end(self) -> CapturedOutput | None:
        """Stop, and return the last output; None if neither this attempt nor an earlier one can have had any."""
        self.restore_logging()
        run = self._run
        if run is None:
            return None
        for printed in self._printed:
            printed.end()
        set_running_job(None)
        self._run = None
        self._silent = None if run.has_any else run
        return self.last_of(run)

    def last_of(self, run: RunOutput) -> CapturedOutput | None:
        """Return the last output of a run that is over; None if neither it nor an earlier one can have had any."""
        run.is_over = True
        if not run.has_any:
            # An earlier attempt may have had some: the last attempt sets the lifetime of all lines.
            return CapturedOutput(run.attempt, []) if run.attempt > 1 else None
        with run.sending:
            self.acquire()
            try:
                self._with_news.discard(run)
                return CapturedOutput(run.attempt, *run.take())
            finally:
                self.release()

    def emit(self, record: logging.LogRecord) -> None:
        """Take a log record, unless it is the worker's own."""
        if not record.name.startswith(WORKER_LOGGERS):
            self.take_line(record.levelname, self.format(record))

    def take_line(self, level: str, line: str) -> None:
        """Take one line of the run that the calling code belongs to."""
        if run := self.current():
            self.add_line(run, level, line)

    def add_line(self, run: RunOutput, level: str, line: str) -> None:
        """Add one line to a run, unless it is over."""
        if run.is_over:
            return
        line = line[:MAX_LINE_CHARACTERS].encode(errors="replace").decode()
        self._note_line(line)
        self.acquire()  # logging's own lock, which is never held in a child process that a job forks
        try:
            run.add(LogLine(time.time(), level, line))
            self._wake_sender(run)
        finally:
            self.release()

    def take_progress(self, task: str, progress: Progress) -> None:
        """Take how far the job is; replaces an earlier report that is not sent yet."""
        run = self.current()
        if run is None or run.task != task or run.is_over:  # a thread of an earlier job
            return
        self.acquire()
        try:
            run.progress = progress
            self._wake_sender(run)
        finally:
            self.release()

    def _wake_sender(self, run: RunOutput) -> None:
        run.has_any = True
        self._with_news.add(run)
        if not self._news.is_set():
            self._news.set()
            if self._sender is None:
                self._sender = threading.Thread(target=self._send_forever, name="sender", daemon=True)
                self._sender.start()

    def _send_forever(self) -> None:
        connection = connect_for_requests(self._connection)
        while True:
            self._news.wait()
            self._news.clear()
            time.sleep(FLUSH_SECONDS)
            self.acquire()
            try:
                runs = list(self._with_news)
                self._with_news.clear()
            finally:
                self.release()
            for run in runs:
                with run.sending:
                    if not run.is_over:
                        self._send(connection, run)

    def _send(self, connection: Redis, run: RunOutput) -> None:
        self.acquire()
        try:
            lines, progress = run.take()
        finally:
            self.release()
        try:
            if progress:
                write_progress(connection, run.task, progress)
                progress = None
            if lines:
                write_lines(connection, run.task, run.attempt, lines, self._ttl)
        except RedisError:  # the job goes on, and this is sent again later
            self.acquire()
            try:
                run.give_back(lines, progress)
                self._wake_sender(run)
            finally:
                self.release()


class SharedCapture(Capture):
    """Captures the output of runs that share a process: each thread and coroutine knows its run (contextvars)."""

    def current(self) -> RunOutput | None:
        """Return the run that the calling code belongs to."""
        return current_output.get()

    def end_of(self, run: RunOutput) -> CapturedOutput | None:
        """Return the last output of a run that has ended; as `end`."""
        self.restore_logging()
        for printed in self._printed:
            printed.end_line_of(run)
        return self.last_of(run)


class Printed:
    """Standard output or standard error, with a copy for the capture.

    Writes whole lines, so that they do not mix with those of the log; as JSON if the log is JSON.
    """

    def __init__(self, stream: TextIO, name: str, capture: Capture) -> None:
        self._stream = stream
        self._name = name
        self._capture = capture
        self._begun = ""  # of a line that has no end yet, and that belongs to no run
        self._is_used = False
        handlers = logging.getLogger().handlers
        self._json = next((each.formatter for each in handlers if isinstance(each.formatter, JsonLine)), None)

    def write(self, text: str) -> int:
        """Write each whole line; the begun one waits for its end, up to MAX_LINE_CHARACTERS."""
        self._is_used = True
        run = self._capture.current()
        self._capture.acquire()  # several threads may print
        try:
            *lines, begun = ((run.begun[self._name] if run else self._begun) + text).split("\n")
            if len(begun) > MAX_LINE_CHARACTERS:
                lines.append(begun)
                begun = ""
            if run:
                run.begun[self._name] = begun
            else:
                self._begun = begun
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
        run = self._capture.current()
        if run.begun[self._name] if run else self._begun:
            self.write("\n")
        self._is_used = False
        self._stream.flush()

    def end_line_of(self, run: RunOutput) -> None:
        """Write the line of a run that has no end, and flush."""
        if run.begun[self._name]:
            token = current_output.set(run)
            self.write("\n")
            current_output.reset(token)
        if self._is_used:
            self._is_used = False
            self._stream.flush()

    def close(self) -> None:
        """Do nothing: the next job prints, too."""

    def __getattr__(self, name: str) -> Any:
        """Leave everything else to the real stream."""
        return getattr(self._stream, name)
