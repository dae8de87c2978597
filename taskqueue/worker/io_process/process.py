"""The I/O process: runs many jobs at once, in one event loop and in threads."""

import logging
import os
import signal
import threading

from redis import Redis

from taskqueue.hooks import event_loop
from taskqueue.settings import Settings
from taskqueue.worker.armed_claim import ArmedClaim
from taskqueue.worker.by_rq import ByRQ
from taskqueue.worker.capture import SharedCapture
from taskqueue.worker.io_process.io_channel import IOChannel
from taskqueue.worker.io_process.run import Runs
from taskqueue.worker.io_process.threads import inherit_context, share_fairly, spare_memory
from taskqueue.worker.io_process.turns import Turns
from taskqueue.worker.io_process.watch import Watch
from taskqueue.worker.live_tally import LiveTally
from taskqueue.worker.outcomes import Outcomes
from taskqueue.worker.settle_and_claim import SettleAndClaim

log = logging.getLogger(__name__)

LAST_SECONDS = 1.0  # so long a blocked event loop may delay the end of the process


class IOProcess:
    """One I/O process. `run` returns when the process must end."""

    def __init__(
        self,
        channel: IOChannel,
        connection: Redis,
        settle_and_claim: SettleAndClaim,
        armed_claim: ArmedClaim,
        settings: Settings,
        worker_name: str,
        by_rq: ByRQ,
        max_memory_mib: int,
        token: str,
    ) -> None:
        """`token`: the beginning of all ids of executions of this process."""
        self._channel = channel
        self._tally = LiveTally(channel.send)
        self._loop = event_loop.share()
        self._capture = SharedCapture(connection, settings.failure_ttl_seconds)
        outcomes = Outcomes(connection, settings, by_rq, self._tally)
        self._turns = Turns(
            channel, connection, settle_and_claim, armed_claim, outcomes, self._capture, worker_name, token
        )
        self._runs = Runs(self._loop, outcomes, self._turns.report)
        self._watch = Watch(channel, self._loop, self._runs, self._turns, outcomes, self._capture, max_memory_mib)
        self._is_done = False
        self._has_left_loop = threading.Event()
        self._error: BaseException | None = None

    def run(self) -> None:
        """Run jobs until the parent stops the process, or it must be replaced. Raises Redis's refusals."""
        spare_memory()
        share_fairly()
        inherit_context()
        self._capture.install()
        self._capture.restore_streams()
        signal.signal(signal.SIGALRM, self._watch.break_block)
        self._loop.call_soon(self._watch.beat)
        for name, act in (("turns", self._make_turns), ("watch", self._watch.run)):
            threading.Thread(target=act, name=name, daemon=True).start()
        while not self._is_done:
            try:
                self._loop.run_forever()
            except BaseException:  # sys.exit() in a task that a job has left in the loop
                log.exception("What a job has left in the event loop has failed")
        self._has_left_loop.set()
        self._tally.send()
        if self._error:
            raise self._error

    def _make_turns(self) -> None:
        try:
            self._turns.run(self._runs.begin)
            self._runs.wait_for_hooks(give_up=lambda: self._channel.hurry)
        except BaseException as error:  # noqa: BLE001  `run` raises it
            self._error = error
        self._is_done = True
        self._loop.call_soon_threadsafe(self._loop.stop)
        if not self._has_left_loop.wait(LAST_SECONDS):  # the event loop is blocked
            if self._error:
                log.critical("The I/O process ends, and its event loop is blocked", exc_info=self._error)
            self._tally.send()
            os._exit(1 if self._error else 0)
