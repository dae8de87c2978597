"""What a worker does for Redis every second or two: keep its leases, find lost jobs, move what is due.

Each worker does it, for all workers: whoever looks first settles a lost job, and one at a time is the scheduler.
"""

import logging
import time
from collections.abc import Sequence
from importlib.resources import files as package_files
from secrets import token_hex
from typing import NamedTuple, cast

from redis import Redis
from redis.exceptions import ResponseError
from rq.defaults import RQ_KEY_PREFIX
from rq.queue import Queue
from rq.scheduler import RQScheduler
from rq.scripts import acquire_or_refresh_lock, release_lock
from rq.serializers import JSONSerializer
from rq.utils import as_text

from taskqueue.batches import BatchEnds
from taskqueue.engine.by_rq import ByRQ
from taskqueue.engine.job import RegisteredJob
from taskqueue.engine.releases import Releases
from taskqueue.engine.slot import Phase, State
from taskqueue.engine.stops import STOPPED
from taskqueue.engine.story import Story
from taskqueue.engine.tally import Tally
from taskqueue.engine.trimming import Trimming
from taskqueue.engine.turn import Turns, error_text, failure, moment
from taskqueue.firing import Firing
from taskqueue.job_types import known_types, registered
from taskqueue.liveness import WORKER_TTL_SECONDS
from taskqueue.owed import OwedCallbacks
from taskqueue.settings import Settings
from taskqueue.totals import Totals

log = logging.getLogger(__name__)

LEASE_SECONDS = 10  # a job whose worker is silent for so long is given to another
SCHEDULER_LOCK_SECONDS = 4  # another worker takes over after this
MAX_DUE = 1000  # jobs moved in one go
MAX_LOST = 100  # jobs settled in one go
SILENT = "Its worker was not heard of any more: it was killed, out of memory, or cut off."
RETURNED = "returned"


class Pulse(NamedTuple):
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
        turns: Turns,
        by_rq: ByRQ,
        settings: Settings,
        tally: Tally,
    ) -> None:
        self._connection = connection
        self._worker_key = f"{RQ_KEY_PREFIX}:worker:{name}"
        self._queues = queues
        self._turns = turns
        self._by_rq = by_rq
        self._failure_ttl = settings.failure_ttl_seconds
        self._tally = tally
        self._told = (0, 0, 0.0)  # of the tally, in Redis
        self._totals = Totals(connection)
        self._story = Story()
        self._token = token_hex(8)
        self._in_touch_since: float | None = None  # with Redis, without a break
        self.schedules = False  # it is the one that moves what is due
        folder = package_files("taskqueue.engine")
        self._owed = OwedCallbacks(connection)
        self._releases = Releases(connection)
        self._batch_ends = BatchEnds(connection, settings.result_ttl_seconds)
        self._trimming = Trimming(connection, known_types())
        self._firing = Firing(connection, settings, registered)
        self._heartbeat_script = connection.register_script(folder.joinpath("heartbeat.lua").read_text())
        self._due_script = connection.register_script(folder.joinpath("due.lua").read_text())

    def lost_touch(self) -> bool:
        """Redis did not answer; whether that is news."""
        news, self._in_touch_since = self._in_touch_since is not None, None
        return news

    @property
    def in_touch(self) -> bool:
        """Whether Redis has answered, the last time."""
        return self._in_touch_since is not None

    def heartbeat(self, running: Sequence[State], horses: int) -> Pulse:
        """Renew the leases of what runs, and say how many jobs could."""
        totals = self._tally.totals()
        finished, failed, seconds = (now - told for now, told in zip(totals, self._told, strict=True))
        arguments: list[str | int | float] = [RQ_KEY_PREFIX, LEASE_SECONDS, moment(), WORKER_TTL_SECONDS]
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
        return Pulse(bool(known), [as_text(member) for member in held], {as_text(run) for run in canceled})

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
            key = f"{RQ_KEY_PREFIX}:wip:{queue.name}"
            expired = cast("list[bytes]", self._connection.zrangebyscore(key, "-inf", seconds, 0, MAX_LOST))
            for member in expired:
                job_id, _, execution = as_text(member).rpartition(":")
                if not self._settle(job_id, execution, SILENT, died=True):
                    self._connection.zrem(key, member)
                    self._connection.delete(f"{RQ_KEY_PREFIX}:execution:{as_text(member)}")

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
        settled = self._turns.turn(outcome, give_up=lambda: True).settled
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
            self._story.failed(job, outcome, how)
        return True

    def schedule(self) -> None:
        """Move what is due, if no other worker does. RQ's own locks say who."""
        locks = [RQScheduler.get_locking_key(queue.name) for queue in self._queues]
        mine = [
            acquire_or_refresh_lock(self._connection, lock, self._token, SCHEDULER_LOCK_SECONDS) != "taken"
            for lock in locks
        ]
        self.schedules = any(mine)
        if self.schedules:
            self.move_due()
            self._trimming.go_on()

    def move_due(self) -> None:
        """Do what is due: schedules fire, ended batches end, jobs go to their queues that may begin now."""
        self._firing.fire_due()
        self._batch_ends.end_those_that_have()
        self._owed.call_back()
        self._releases.release()
        for queue in self._queues:
            keys = [f"{RQ_KEY_PREFIX}:scheduled:{queue.name}", queue.key, Queue.redis_queues_keys]
            self._due_script(keys=keys, args=[RQ_KEY_PREFIX, moment(), MAX_DUE])
            # What RQ's own code skips when two parents end at once, or leaves there when it is killed.
            queue.ready_job_registry.cleanup()

    def give_up_scheduling(self) -> None:
        """Let another worker be the scheduler at once."""
        for queue in self._queues:
            release_lock(self._connection, RQScheduler.get_locking_key(queue.name), self._token)
