"""A worker's leases on the jobs that it runs: renews them, and settles what a dead horse left behind.

A lease is an entry in RQ's started registry. Once it has run out, any worker gives the job to another one: see
maintenance/lost_jobs.py.
"""

import time
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple, cast

from redis import Redis
from redis.exceptions import ResponseError
from rq.defaults import RQ_KEY_PREFIX

from taskqueue.store import scripts
from taskqueue.store.keys import decoded, worker_executions_key, worker_key
from taskqueue.store.liveness import WORKER_TTL_SECONDS
from taskqueue.store.times import rq_now
from taskqueue.telemetry.counters import Tally
from taskqueue.worker.abandoned_runs import AbandonedRuns
from taskqueue.worker.decision import Ending
from taskqueue.worker.horse_channel import State, place_in_claim
from taskqueue.worker.horse_process import RETURNED, HorseProcess
from taskqueue.worker.settle_and_claim import Outcome

LEASE_SECONDS = 10  # a job whose worker is silent for so long is given to another


class HeartbeatReply(NamedTuple):
    """What Redis knows of a worker at one heartbeat."""

    is_known: bool  # False: Redis has forgotten this worker, which must register again
    claims: list[bytes]  # <job>:<execution> of all that this worker has claimed and not settled
    canceled: set[str]  # the executions that somebody has canceled while they ran


class Capacity(NamedTuple):
    """How many jobs a worker could run at once, and runs now."""

    horses: int
    busy_horses: int
    io_slots: int  # 0: it has no I/O process
    busy_io_slots: int


class Leases:
    """Renews one worker's leases, and knows whether Redis answers."""

    def __init__(self, connection: Redis, name: str, abandoned_runs: AbandonedRuns, tally: Tally) -> None:
        self._connection = connection
        self._worker_key = worker_key(name)
        self._executions_key = worker_executions_key(name)
        self._abandoned_runs = abandoned_runs
        self._tally = tally
        self._totals_in_redis = (0, 0, 0.0)  # the part of the tally that earlier heartbeats have sent
        self._in_touch_since: float | None = None  # Redis has answered without a break since then
        self._script = scripts.register(connection, "wrong_types", "careful", "heartbeat")

    def lose_touch(self) -> bool:
        """Note that Redis did not answer; return whether that is news."""
        is_news, self._in_touch_since = self.in_touch, None
        return is_news

    @property
    def in_touch(self) -> bool:
        """Whether Redis has answered the last call."""
        return self._in_touch_since is not None

    @property
    def in_touch_seconds(self) -> float:
        """For how many seconds Redis has answered without a break; 0 while it does not answer."""
        return 0.0 if self._in_touch_since is None else time.monotonic() - self._in_touch_since

    def heartbeat(self, running: Sequence[State], capacity: Capacity) -> HeartbeatReply:
        """Renew the leases of the running jobs, and report how many jobs could run. Raises the driver's errors."""
        totals = self._tally.totals()
        finished, failed, seconds = (now - sent for now, sent in zip(totals, self._totals_in_redis, strict=True))
        arguments: list[str | int | float] = [RQ_KEY_PREFIX, LEASE_SECONDS, rq_now(), WORKER_TTL_SECONDS]
        arguments += [finished, failed, round(seconds, 6), *capacity]
        for state in running:
            arguments += (state.origin, state.job, state.execution)
        try:
            answer = self._script(keys=[self._worker_key], args=arguments)
        except ResponseError:
            self.lose_touch()  # Redis is full: no worker can renew a lease
            raise
        is_known, claims, canceled = cast("tuple[int, list[bytes], list[bytes]]", answer)
        if is_known:
            self._totals_in_redis = totals
        if self._in_touch_since is None:
            self._in_touch_since = time.monotonic()
        return HeartbeatReply(bool(is_known), claims, set(map(decoded, canceled)))

    def claims(self) -> list[bytes]:
        """Return <job>:<execution> of all that this worker has claimed and not settled.

        Raises the driver's errors.
        """
        return list(cast("set[bytes]", self._connection.smembers(self._executions_key)))

    def settle_after(self, process: HorseProcess, ending: Ending) -> None:
        """Settle what a process of this worker left behind that ended like this. Raises the driver's errors."""
        # RQ's monitoring (rq info, rq-dashboard) may have removed a claim in its first moments.
        claims, ended = list({*self.claims(), *process.begun()}), process.ended_outcomes()
        self.settle_ended(claims, ended)
        have_ended = {(outcome.job, outcome.execution) for outcome in ended}
        left = [
            (process.began(*run) or float("inf"), *run, of_this)
            for run in _runs(claims)
            if run not in have_ended and (of_this := process.ending_of(*run, ending))
        ]
        # What is put back goes to the front of its queue: the first that began comes last.
        for _, job_id, execution, of_this in sorted(left, key=lambda run: -run[0]):
            self._abandoned_runs.settle(job_id, execution, of_this)

    def settle_ended(self, claims: Sequence[bytes], ended: Sequence[Outcome]) -> None:
        """Store those outcomes of which the claims are not settled. Raises the driver's errors."""
        runs = set(_runs(claims))
        self._abandoned_runs.settle_ended(
            [outcome for outcome in ended if (outcome.job, outcome.execution) in runs]
        )

    def give_back_unknown(self, claims: Sequence[bytes], is_known: Callable[[str, str], bool]) -> None:
        """Put back the jobs of those claims that no process knows of: a claim came twice, or a group is over."""
        for job_id, execution in _runs(claims):
            if not is_known(job_id, execution) and not self._abandoned_runs.settle(job_id, execution, RETURNED):
                self._connection.srem(self._executions_key, f"{job_id}:{execution}")


def _runs(members: Iterable[bytes]) -> list[tuple[str, str]]:
    """Return job and execution of each <job>:<execution>: the last of a claim first, to be put back."""
    parts = (decoded(member).rpartition(":") for member in members)
    runs = [(job_id, execution) for job_id, _, execution in parts]
    return sorted(runs, key=lambda run: -place_in_claim(run[1]))
