"""The I/O process: runs many jobs at once, in one event loop and in threads."""

import asyncio
import logging
import os
import signal
import threading
import time

from redis import Redis
from redis.exceptions import RedisError

from taskqueue.jobtypes import event_loop
from taskqueue.settings import Settings
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
        settings: Settings,
        worker_name: str,
        by_rq: ByRQ,
        max_memory_mib: int,
    ) -> None:
        self._channel = channel
        self._tally = LiveTally(channel.send)
        self._loop = asyncio.new_event_loop()
        self._capture = SharedCapture(connection, settings.failure_ttl_seconds)
        outcomes = Outcomes(connection, settings, by_rq, self._tally)
        self._turns = Turns(channel, connection, settle_and_claim, outcomes, self._capture, worker_name)
        self._runs = Runs(self._loop, outcomes, self._turns.report)
        self._watch = Watch(channel, self._loop, self._runs, self._turns, outcomes, self._capture, max_memory_mib)
        self._is_done = False

    def run(self) -> None:
        """Run jobs until the parent stops the process, or it must be replaced."""
        spare_memory()
        share_fairly()
        inherit_context()
        asyncio.set_event_loop(self._loop)
        event_loop.share(self._loop)
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
        self._tally.send()

    def _make_turns(self) -> None:
        code = 1
        try:
            self._turns.run(self._runs.begin)
            code = 0
        except RedisError as error:
            log.error("The I/O process ends, and a new one begins after a pause: Redis said: %s", error)  # noqa: TRY400
        except BaseException:
            log.critical("The I/O process crashed; please report this as a bug", exc_info=True)
        if code:
            os._exit(code)
        self._is_done = True
        self._loop.call_soon_threadsafe(self._loop.stop)
        time.sleep(LAST_SECONDS)  # a daemon's: it ends with the process
        self._tally.send()
        os._exit(0)
