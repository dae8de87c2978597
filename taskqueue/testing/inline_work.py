"""Runs what is queued, in this process, by the worker's own code and scripts."""

import asyncio
import secrets
from collections.abc import Callable
from contextlib import ExitStack, suppress
from threading import RLock, Thread
from typing import Any, NoReturn

from redis import Redis
from rq.job import Job
from rq.queue import Queue
from rq.serializers import JSONSerializer

from taskqueue.hooks.running import around_this_process
from taskqueue.jobtypes.limits import declare
from taskqueue.jobtypes.registry import known_types
from taskqueue.run.context import Progress, send_progress_by, write_progress
from taskqueue.settings import Settings
from taskqueue.store.keys import Field, decoded, job_key, registry_key
from taskqueue.tasks.running import running_job, set_running_job
from taskqueue.telemetry.counters import Tally
from taskqueue.worker.armed_claim import ArmedClaim
from taskqueue.worker.by_rq import ByRQ
from taskqueue.worker.horse import Horse, HorseLimits
from taskqueue.worker.horse_channel import HorseChannel
from taskqueue.worker.job import RegisteredJob
from taskqueue.worker.maintenance.maintenance import Maintenance
from taskqueue.worker.outcomes import Outcomes
from taskqueue.worker.settle_and_claim import SettleAndClaim
from taskqueue.worker.settles_by_rq import SettlesByRQ
from taskqueue.worker.short_types import ShortTypes

NAME = "inline"  # of the worker
LEASE_SECONDS = 366 * 86_400  # a test may travel through time while a job runs
MAX_JOBS = 10_000  # that one submission may lead to


class _NothingWaits(Exception):
    """No job waits in the queues."""


class InlineWork:
    """A worker without processes: it runs jobs when it is asked to, one at a time."""

    def __init__(self, connection: Redis, settings: Settings) -> None:
        self._connection = connection
        self._settings = settings
        self._one_at_a_time = RLock()
        self._process = ExitStack()
        self._has_begun = False
        queues = [Queue(name, connection=connection, serializer=JSONSerializer) for name in settings.queues]
        rq_worker = SettlesByRQ(
            list(settings.queues),
            name=NAME,
            connection=connection,
            job_class=RegisteredJob,
            serializer=JSONSerializer,
            default_result_ttl=settings.result_ttl_seconds,
            prepare_for_work=False,
        )
        self._by_rq = ByRQ(rq_worker, connection)
        self._settle_and_claim = SettleAndClaim(connection, NAME, settings.queues, LEASE_SECONDS)
        self._maintenance = Maintenance(connection, queues, settings, _at_once, NAME)

    def run(self) -> None:
        """Run all jobs that wait, those that they lead to, and their retries."""
        try:
            asyncio.get_running_loop()
        except RuntimeError:
            self._run()
        else:  # a coroutine has submitted: a job that is async needs a loop of its own, in a thread of its own
            thread = Thread(target=self._run)
            thread.start()
            thread.join()

    def close(self) -> None:
        """End what the `@around_process` hooks have begun."""
        self._process.close()

    def _run(self) -> None:
        with self._one_at_a_time:
            if not self._has_begun:
                self._has_begun = True
                self._process.enter_context(around_this_process())
            declare(self._connection, known_types())
            ran = 0
            while True:
                self._maintenance.queue_due()
                now_run = self._run_waiting()
                ran += now_run
                if ran > MAX_JOBS:
                    raise RuntimeError(f"more than {MAX_JOBS:,} jobs have run: do they submit each other?")
                if not self._make_retries_due() and not now_run:
                    return

    def _run_waiting(self) -> int:
        """Run the jobs that wait in the queues; return how many."""
        channel = HorseChannel()
        token = secrets.token_hex(12)
        horse = _InlineHorse(
            channel,
            self._connection,
            self._settle_and_claim,
            ArmedClaim(self._connection, self._settle_and_claim.claimant, self._settings.queues, token),
            self._settings,
            NAME,
            self._by_rq,
            HorseLimits(),
            token,
        )
        with suppress(_NothingWaits):
            horse.run()
        channel.close()
        return horse.ran

    def _make_retries_due(self) -> bool:
        """Make the jobs due that wait for another attempt; return whether there are any."""
        found = False
        for queue in self._settings.queues:
            registry = registry_key("scheduled", queue)
            members: Any = self._connection.zrange(registry, 0, -1)
            for member in members:
                attempt: Any = self._connection.hget(job_key(decoded(member)), Field.ATTEMPT)
                if attempt and int(attempt):
                    self._connection.zadd(registry, {member: 0})
                    found = True
        return found


def _at_once(chore: Callable[[], object]) -> bool:
    chore()
    return True


class _InlineHorse(Horse):
    """A work-horse that runs in the test's own process, and stops when no job waits."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._short_types = _NoShortTypes()
        self._tally = _NoTally()  # type: ignore[assignment]  # nobody counts in a test
        self._outcomes = Outcomes(self._connection, self._settings, self._by_rq, self._tally)
        self._time_limit = _NoTimeLimit()  # type: ignore[assignment]
        self._capture = _NoCapture(self._connection)  # type: ignore[assignment]

    @property
    def ran(self) -> int:
        """How many jobs it has run."""
        ran: int = self._capture.ran  # type: ignore[attr-defined]
        return ran

    def _sleep(self, why: bytes) -> NoReturn:
        raise _NothingWaits


class _NoShortTypes(ShortTypes):
    """Lets no jobs be claimed together: one of them may wait for the result of another."""

    def add(self, job_type: str, seconds: float) -> None:
        """Do nothing."""


class _NoTally(Tally):
    """Counts for nobody."""

    def send(self) -> None:
        """Forget what was counted."""
        self.take()


class _NoTimeLimit:
    """Lets a job run as long as it likes: signals belong to the test."""

    def __call__(self, seconds: float) -> "_NoTimeLimit":
        return self

    def __enter__(self) -> None:
        """Do nothing."""

    def __exit__(self, *_: object) -> None:
        """Do nothing."""


class _NoCapture:
    """Leaves logging and output to pytest; progress is stored at once."""

    def __init__(self, connection: Redis) -> None:
        self._connection = connection
        self._outer: Job | None = None  # the job that waits for the result of this one
        self.ran = 0

    def install(self) -> None:
        send_progress_by(self._write_progress)

    def begin(self, job: RegisteredJob) -> None:
        self.ran += 1
        self._outer = running_job()
        set_running_job(job)

    def restore_logging(self) -> None:
        """Do nothing."""

    def end(self) -> None:
        set_running_job(self._outer)

    def _write_progress(self, task_id: str, report: Progress) -> None:
        write_progress(self._connection, task_id, report)
