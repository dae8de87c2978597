"""What a worker does for Redis every second or two: keep its leases, find lost jobs, move what is due.

Each worker does it, for all workers: whoever looks first settles a lost job, and one at a time is the scheduler.
"""

import logging
import time
from collections.abc import Sequence
from secrets import token_hex
from typing import NamedTuple, cast

from redis import Redis
from redis.exceptions import ResponseError
from rq.defaults import RQ_KEY_PREFIX
from rq.queue import Queue
from rq.scripts import acquire_or_refresh_lock, release_lock
from rq.serializers import JSONSerializer
from rq.utils import as_text

from taskqueue.jobtypes.registry import known_types, registered
from taskqueue.settings import Settings
from taskqueue.store import scripts
from taskqueue.store.keys import QUEUES, execution_key, registry_key, scheduler_lock_key, worker_key
from taskqueue.store.liveness import WORKER_TTL_SECONDS
from taskqueue.store.times import rq_now
from taskqueue.telemetry.counters import Tally
from taskqueue.telemetry.totals import Totals
from taskqueue.worker.by_rq import ByRQ
from taskqueue.worker.horse_channel import Phase, State
from taskqueue.worker.job import RegisteredJob
from taskqueue.worker.job_log import JobLog
from taskqueue.worker.maintenance.batch_finisher import BatchFinisher
from taskqueue.worker.maintenance.index_pruner import IndexPruner
from taskqueue.worker.maintenance.limit_releaser import LimitReleaser
from taskqueue.worker.maintenance.missed_callbacks import MissedCallbacks
from taskqueue.worker.maintenance.schedule_runner import ScheduleRunner
from taskqueue.worker.settle_and_claim import SettleAndClaim, error_text, failure
from taskqueue.worker.stop_requests import STOPPED

log = logging.getLogger(__name__)

LEASE_SECONDS = 10  # a job whose worker is silent for so long is given to another
SCHEDULER_LOCK_SECONDS = 4  # another worker takes over after this
MAX_DUE = 1000  # jobs moved in one go
MAX_LOST = 100  # jobs settled in one go
SILENT = "Its worker was not heard of any more: it was killed, out of memory, or cut off."
RETURNED = "returned"


class HeartbeatReply(NamedTuple):
    """What a heartbeat has found in Redis."""

    is_known: bool  # Redis has not forgotten this worker
    held: list[str]  # job:execution of all that stands under its name
    canceled: set[str]  # executions that somebody has canceled while they ran


class Keeper:
    """One worker's share of that."""

    def __init__(
        self,
        connection: Redis,
        name: str,
        queues: Sequence[Queue],
        turns: SettleAndClaim,
        by_rq: ByRQ,
        settings: Settings,
        tally: Tally,
    ) -> None:
        self._connection = connection
        self._worker_key = worker_key(name)
        self._queues = queues
        self._settle_and_claim = turns
        self._by_rq = by_rq
        self._failure_ttl = settings.failure_ttl_seconds
        self._tally = tally
        self._told = (0, 0, 0.0)  # of the tally, in Redis
        self._totals = Totals(connection)
        self._job_log = JobLog()
        self._token = token_hex(8)
        self._in_touch_since: float | None = None  # with Redis, without a break
        self.schedules = False  # it is the one that moves what is due
        self._missed_callbacks = MissedCallbacks(connection)
        self._limit_releaser = LimitReleaser(connection)
        self._batch_finisher = BatchFinisher(connection, settings.result_ttl_seconds)
        self._index_pruner = IndexPruner(connection, known_types())
        self._schedule_runner = ScheduleRunner(connection, settings, registered)
        self._heartbeat_script = scripts.register(connection, "heartbeat")
        self._due_script = scripts.register(connection, "move_due")

    def lost_touch(self) -> bool:
        """Redis did not answer; whether that is news."""
        news, self._in_touch_since = self._in_touch_since is not None, None
        return news

    @property
    def in_touch(self) -> bool:
        """Whether Redis has answered, the last time."""
        return self._in_touch_since is not None

    def heartbeat(self, running: Sequence[State], horses: int) -> HeartbeatReply:
        """Renew the leases of what runs, and say how many jobs could."""
        totals = self._tally.totals()
        finished, failed, seconds = (now - told for now, told in zip(totals, self._told, strict=True))
        arguments: list[str | int | float] = [RQ_KEY_PREFIX, LEASE_SECONDS, rq_now(), WORKER_TTL_SECONDS]
        arguments += [finished, failed, round(seconds, 6), horses]
        for state in running:
            arguments += (state.origin, state.job, state.execution)
        try:
            answer = self._heartbeat_script(keys=[self._worker_key], args=arguments)
        except ResponseError:
            self.lost_touch()  # Redis is full: no worker can renew a lease
            raise
        known, held, canceled = cast("tuple[int, list[bytes], list[bytes]]", answer)
        if known:
            self._told = totals
        if self._in_touch_since is None:
            self._in_touch_since = time.monotonic()
        return HeartbeatReply(
            bool(known), [as_text(member) for member in held], {as_text(run) for run in canceled}
        )

    def tell_totals(self) -> None:
        """Add to the metrics of all workers what this one has counted since."""
        self._totals.add(self._tally)

    def settle_lost(self) -> None:
        """Give the jobs of silent workers to others."""
        # After an absence of Redis every lease is old: each worker gets the time to renew its own.
        if self._in_touch_since is None or time.monotonic() - self._in_touch_since < LEASE_SECONDS:
            return
        seconds = self._connection.time()[0]
        for queue in self._queues:
            key = registry_key("wip", queue.name)
            expired = cast("list[bytes]", self._connection.zrangebyscore(key, "-inf", seconds, 0, MAX_LOST))
            for member in expired:
                job_id, _, execution = as_text(member).rpartition(":")
                if not self._settle(job_id, execution, SILENT, died=True):
                    self._connection.zrem(key, member)
                    self._connection.delete(execution_key(as_text(member)))

    def settle_after_horse(self, state: State, how: str, stopped_job: str, *, died: bool) -> None:
        """Settle what a horse of ours left that has ended while it was in `state`.

        `died`: nobody killed it on purpose.
        """
        for member in map(as_text, self._connection.smembers(f"{self._worker_key}:executions")):
            job_id, _, execution = member.rpartition(":")
            if state.phase is not Phase.RESTING and execution == state.execution:
                self._settle(job_id, execution, how, stopped=job_id == stopped_job, died=died)
            elif execution == state.claim:
                self._settle(job_id, execution, RETURNED)  # it was claimed, and had not begun

    def give_back(self, member: str) -> None:
        """Put back what stands under our name and no horse knows of: a claim that came late, and twice."""
        job_id, _, execution = member.rpartition(":")
        if not self._settle(job_id, execution, RETURNED):
            self._connection.srem(f"{self._worker_key}:executions", member)

    def _settle(self, job_id: str, execution: str, how: str, *, stopped: bool = False, died: bool = False) -> bool:
        """Settle a run that ended without a word; False where there is no such job."""
        try:
            job = RegisteredJob.fetch(job_id, connection=self._connection, serializer=JSONSerializer)
        except Exception as error:  # noqa: BLE001  deleted, or unreadable: there is nothing to give to anybody
            log.warning("Task %s is gone: %s", job_id, error)
            return False
        if died and (job.deaths + 1 == job.attempt > 1) and not job.should_retry:
            how = f"Poison job: each of its {job.attempt} attempts ended its work-horse. {how}"
        began = job.started_at.timestamp() if job.started_at else time.time()
        outcome = failure(job, execution, how, began, self._failure_ttl)
        if how == RETURNED:
            outcome = outcome._replace(kind="returned")
        elif stopped:
            outcome = outcome._replace(kind="stopped", text=error_text(STOPPED))
        elif died:
            outcome = outcome._replace(deaths=job.deaths + 1)
        settled = self._settle_and_claim(outcome, give_up=lambda: True).settled
        if settled == "lost":
            return True
        if settled == "dependents":
            self._by_rq.settle(outcome)
        if outcome.kind in ("failed", "stopped"):
            self._by_rq.call_back(job, outcome.kind, how)
        self._tally.add(outcome.job_type, outcome.kind, outcome.ended - began)
        if settled == "canceled":
            log.warning("Task %s canceled while it ran", job_id)
        elif how == RETURNED:
            log.info("Task %s is put back to the front of its queue", job_id)
        elif stopped:
            log.warning("Task %s stopped on request", job_id)
        else:
            self._job_log.failed(job, outcome, how)
        return True

    def schedule(self) -> None:
        """Move what is due, if no other worker does. RQ's own locks say who."""
        locks = [scheduler_lock_key(queue.name) for queue in self._queues]
        mine = [
            acquire_or_refresh_lock(self._connection, lock, self._token, SCHEDULER_LOCK_SECONDS) != "taken"
            for lock in locks
        ]
        self.schedules = any(mine)
        if self.schedules:
            self.move_due()
            self._index_pruner.run()

    def move_due(self) -> None:
        """Do what is due: schedules fire, ended batches end, jobs go to their queues that may begin now."""
        self._schedule_runner.run()
        self._batch_finisher.run()
        self._missed_callbacks.run()
        self._limit_releaser.run()
        for queue in self._queues:
            keys = [registry_key("scheduled", queue.name), queue.key, QUEUES]
            self._due_script(keys=keys, args=[RQ_KEY_PREFIX, rq_now(), MAX_DUE])
            # What RQ's own code skips when two parents end at once, or leaves there when it is killed.
            queue.ready_job_registry.cleanup()

    def give_up_scheduling(self) -> None:
        """Let another worker be the scheduler at once."""
        for queue in self._queues:
            release_lock(self._connection, scheduler_lock_key(queue.name), self._token)
