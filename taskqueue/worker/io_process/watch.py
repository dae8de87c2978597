"""Watches the I/O process from a thread of its own: time limits, what the parent sends, a blocked event loop."""

import linecache
import logging
import os
import resource
import selectors
import signal
import sys
import time
from asyncio import AbstractEventLoop
from threading import main_thread
from types import FrameType

from taskqueue.telemetry.log import about
from taskqueue.worker.capture import SharedCapture
from taskqueue.worker.horse_channel import ARM, WAKE
from taskqueue.worker.horse_process import RETURNED
from taskqueue.worker.io_process.io_channel import STOP_RUN, IOChannel
from taskqueue.worker.io_process.run import STOP, Run, Runs, time_limit
from taskqueue.worker.io_process.turns import Turns
from taskqueue.worker.outcomes import Outcomes

log = logging.getLogger(__name__)

TICK_SECONDS = 0.1  # how exactly a time limit is kept
BLOCKED_SECONDS = 0.5  # a loop that has not turned for so long is blocked
HOUSEKEEPING_SECONDS = 1.0  # how often the process checks its memory


class Watch:
    """Watches the runs and the event loop of one I/O process."""

    def __init__(
        self,
        channel: IOChannel,
        loop: AbstractEventLoop,
        runs: Runs,
        turns: Turns,
        outcomes: Outcomes,
        capture: SharedCapture,
        max_memory_mib: int,
    ) -> None:
        self._channel = channel
        self._loop = loop
        self._runs = runs
        self._turns = turns
        self._outcomes = outcomes
        self._capture = capture
        self._max_memory_kib = max_memory_mib * 1024 or sys.maxsize
        self._received = b""
        self._turned_at = time.monotonic()  # when the loop was last seen to turn
        self._blocker: Run | None = None  # that was named in the log
        self._kept_house_at = 0.0

    def beat(self) -> None:
        """Note that the loop turns; call it in the loop once."""
        self._turned_at = time.monotonic()
        self._loop.call_later(TICK_SECONDS, self.beat)

    def break_block(self, number: int, frame: FrameType | None) -> None:
        """Handle the signal by which `run` raises an interruption in a coroutine that blocks the loop."""
        run = self._runs.in_loop()
        if run and run.interruption and not run.is_over:
            raise run.interruption.error

    def run(self) -> None:
        """Watch for ever."""
        with selectors.DefaultSelector() as selector:
            selector.register(self._channel.horse_end, selectors.EVENT_READ)
            due = time.monotonic()
            while True:
                if selector.select(max(0.0, due - time.monotonic())):
                    self._receive()
                now = time.monotonic()
                if now >= due:
                    due = now + TICK_SECONDS
                    self._tick(now)

    def _tick(self, now: float) -> None:
        self._channel.beat()
        for run in list(self._turns.running.values()):
            if run.is_over:
                if run.outcome and now >= run.given_up_at:
                    log.error(
                        "The @when_failed hooks of task %s have not ended in time; it is settled without them",
                        run.job.id, extra=about(run.job.id),
                    )  # fmt: skip
                    self._turns.report(run, run.outcome)
                continue
            if now >= run.given_up_at:
                self._turns.report(run, self._runs.give_up(run), is_left_behind=True)
            elif now >= run.ends and not run.interruption:
                self._runs.interrupt(run, time_limit(run.limit))
        self._watch_loop(now)
        if self._turns.is_ending or self._turns.must_look:
            self._turns.nudge()
        if now >= self._kept_house_at + HOUSEKEEPING_SECONDS:
            self._kept_house_at = now
            if resource.getrusage(resource.RUSAGE_SELF).ru_maxrss > self._max_memory_kib:
                self._turns.retire("it has used more memory than --max-horse-memory allows")

    def _receive(self) -> None:
        received = self._channel.horse_end.recv(65536)
        if not received:  # the worker has gone
            os._exit(0)
        self._received += received
        while self._received:
            if self._received.startswith(WAKE):
                self._received = self._received[len(WAKE) :]
                self._turns.wake()
                continue
            if self._received.startswith(ARM):
                length = len(ARM) + 1 + self._turns.queues
                if len(self._received) < length:
                    return
                self._turns.arm(self._received[len(ARM) + 1 : length])
                self._received = self._received[length:]
                continue
            line, end, rest = self._received.partition(b"\n")
            if not end:
                return
            self._received = rest
            run = self._turns.running.get(line.removeprefix(STOP_RUN).decode())
            if run and not run.interruption:
                self._runs.interrupt(run, STOP)

    def _watch_loop(self, now: float) -> None:
        silent = now - self._turned_at
        if silent < BLOCKED_SECONDS:
            if self._blocker:
                self._warn(self._blocker, "no longer blocks the event loop")
            self._blocker, self._turns.is_loop_blocked = None, False
            return
        if not self._turns.is_loop_blocked:
            self._turns.is_loop_blocked = True
            self._blocked_at = self._turned_at
        run = self._runs.in_loop()
        if run is None:
            return
        if run is not self._blocker:
            self._blocker = run
            self._warn(run, f"blocks the event loop of all coroutines, for {silent:.1f} s so far, {_where()}")
        if run.interruption:
            signal.pthread_kill(main_thread().ident or 0, signal.SIGALRM)
            if run.execution not in self._turns.running:  # it was left behind, and with it the loop
                self._put_back_coroutines()

    def _warn(self, run: Run, what: str) -> None:
        log.warning("Task %s (%s) %s", run.job.id, run.job.type_name, what, extra=about(run.job.id))
        self._capture.add_line(run.output, "WARNING", f"This task {what}")

    def _put_back_coroutines(self) -> None:
        """Give the runs to others that cannot go on here."""
        for run in list(self._turns.running.values()):
            if run.is_coroutine and not run.is_over:
                run.is_over = True
                self._turns.report(run, self._outcomes.ended(run.job, run.execution, run.began, RETURNED))


def _where() -> str:
    """Return which line the thread of the event loop executes."""
    frame = sys._current_frames().get(main_thread().ident or 0)
    if frame is None:
        return "somewhere"
    file, number = frame.f_code.co_filename, frame.f_lineno
    return f"at {file}:{number}: {linecache.getline(file, number).strip()}"
