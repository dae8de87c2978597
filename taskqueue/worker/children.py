"""What the child processes of a worker do, from the fork to their end: a work-horse, or an I/O process."""

import os
import secrets
import signal
from collections.abc import Callable

from redis import Redis

from taskqueue.hooks.running import around_this_process
from taskqueue.jobtypes.registry import known_types
from taskqueue.settings import Settings
from taskqueue.store.connection import connect_for_requests, connect_for_worker
from taskqueue.telemetry import spans
from taskqueue.worker.armed_claim import ArmedClaim
from taskqueue.worker.by_rq import ByRQ
from taskqueue.worker.callback_places import CallbackPlaces
from taskqueue.worker.horse import Horse
from taskqueue.worker.horse_channel import HorseChannel
from taskqueue.worker.io_process.io_channel import IOChannel
from taskqueue.worker.leases import LEASE_SECONDS
from taskqueue.worker.options import Options
from taskqueue.worker.settle_and_claim import Kind, SettleAndClaim
from taskqueue.worker.settles_by_rq import SettlesByRQ


class Children:
    """The code of a worker's child processes. Each has connections of its own: the parent's are the parent's."""

    def __init__(
        self,
        worker: SettlesByRQ,
        connection: Redis,
        settings: Settings,
        options: Options,
        io_types: frozenset[str],
        callback_places: CallbackPlaces | None,
    ) -> None:
        """`connection`: how to connect. `io_types`: the job types that the I/O process runs."""
        self._worker = worker
        self._connection = connection
        self._settings = settings
        self._options = options
        self._io_types = io_types
        self._callback_places = callback_places

    def be_a_horse(self, channel: HorseChannel) -> None:
        """Run jobs one after another, until this work-horse must end."""
        connection = self._prepare()
        self._worker.job_monitoring_interval = LEASE_SECONDS
        token = secrets.token_hex(12)
        settle_and_claim, armed_claim = self._claims(channel, "cpu" if self._options.io_slots else "any", token)
        horse = Horse(
            channel,
            connection,
            settle_and_claim,
            armed_claim,
            self._settings,
            self._worker.name,
            ByRQ(self._worker, connection),
            self._options.limits,
            token,
            None if self._options.io_slots else self._callback_places,
        )
        with around_this_process():
            horse.run()
        spans.flush()

    def be_an_io_process(self, channel: IOChannel) -> None:
        """Run many jobs at once, until this I/O process must end."""
        from taskqueue.worker.io_process.process import IOProcess  # with asyncio, which no other process needs

        connection = self._prepare()
        token = secrets.token_hex(10)
        settle_and_claim, armed_claim = self._claims(channel, "io", token)
        process = IOProcess(
            channel,
            connection,
            settle_and_claim,
            armed_claim,
            self._settings,
            self._worker.name,
            ByRQ(self._worker, connection),
            self._options.limits.memory_mib,
            token,
        )
        with around_this_process():
            process.run()
        spans.flush()

    def settle_and_claim(
        self,
        connection: Redis,
        note_refusal: Callable[[str], None] = lambda message: None,
        kind: Kind = "any",
    ) -> SettleAndClaim:
        """Return how a process settles, and claims jobs of this kind, on this connection."""
        return SettleAndClaim(
            connection,
            self._worker.name,
            self._worker.queue_names(),
            LEASE_SECONDS,
            note_refusal,
            kind=kind,
            io_types=self._io_types,
            release=self._settings.release,
        )

    def _claims(self, channel: HorseChannel, kind: Kind, token: str) -> tuple[SettleAndClaim, ArmedClaim]:
        """Return how a process of this kind claims: at once, and by waiting in Redis, on its own connections."""
        settle_and_claim = self.settle_and_claim(
            connect_for_requests(self._connection), channel.send_refusal, kind
        )
        bells = connect_for_requests(self._connection)
        return settle_and_claim, ArmedClaim(bells, settle_and_claim.claimant, self._worker.queue_names(), token)

    def _prepare(self) -> Redis:
        """Make this process a child of the worker, and return its connection."""
        self._worker._is_horse = True
        # A SIGTERM to the process group is meant for the worker. No SIG_IGN: processes of a job would inherit it.
        signal.signal(signal.SIGTERM, lambda *_: None)
        # Processes that a job forks without exec would inherit the handler, and `multiprocessing.Pool` ends its
        # processes by this signal.
        os.register_at_fork(after_in_child=lambda: signal.signal(signal.SIGTERM, signal.SIG_DFL))
        self._worker.connection = connect_for_worker(self._connection)
        return self._worker.connection


def io_bound_types() -> frozenset[str]:
    """Return the names of the io_bound job types, and the paths of their functions, as RQ may name them."""
    io_bound = [job_type for job_type in known_types().values() if job_type.io_bound]
    return frozenset(name for job_type in io_bound for name in (job_type.name, job_type.path))
