"""A work-horse: the child process that claims, runs and settles one job after another, until it must stop."""

import logging
import resource
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass

from redis import Redis
from redis.exceptions import RedisError
from rq.job import _current_job

from taskqueue.enqueue.job_fields import CALLBACK_TYPE
from taskqueue.hooks import registry as hooks
from taskqueue.settings import Settings
from taskqueue.tasks.put_off import CALLBACK_PLACE, PutOff
from taskqueue.telemetry.trace import Trace, current_sender, current_trace, sender_of
from taskqueue.worker.armed_claim import ArmedClaim
from taskqueue.worker.by_rq import ByRQ
from taskqueue.worker.callback_places import PUT_OFF_SECONDS, CallbackPlaces
from taskqueue.worker.capture import Capture
from taskqueue.worker.decision import put_off_again
from taskqueue.worker.horse_channel import (
    ANNOUNCE_GROUP_SECONDS,
    ARM,
    AWAKE,
    GROUPS,
    IDLE,
    IDLE_OTHERS,
    SUSPENDED,
    HorseChannel,
    Phase,
    State,
)
from taskqueue.worker.job import ClaimedJob
from taskqueue.worker.job_log import JobLog
from taskqueue.worker.live_tally import LiveTally
from taskqueue.worker.outcomes import FAILURE_HOOKS_SECONDS, Outcomes
from taskqueue.worker.settle_and_claim import Answer, Claimed, Outcome, SettleAndClaim
from taskqueue.worker.short_types import ShortTypes
from taskqueue.worker.time_limit import TimeLimit

log = logging.getLogger(__name__)

HARD_LIMIT_SECONDS = 1.5  # after its timeout the worker kills a job that has swallowed the exception
MOST_IN_GROUP = 8  # jobs that are claimed together
GROUP_SECONDS = 0.005  # after which the outcomes of a group are stored
MAX_NOTED_BYTES = 1000  # of a result that waits in the channel
HOUSEKEEPING_SECONDS = 1.0  # how often a horse checks its memory


@dataclass(frozen=True)
class HorseLimits:
    """When to replace a horse by a new one; 0: never."""

    jobs: int = 0
    memory_mib: int = 0


class Horse:
    """One work-horse, in its own process. `run` returns when the process must end."""

    def __init__(
        self,
        channel: HorseChannel,
        connection: Redis,
        settle_and_claim: SettleAndClaim,
        armed_claim: ArmedClaim,
        settings: Settings,
        worker_name: str,
        by_rq: ByRQ,
        limits: HorseLimits,
        token: str,
        callback_places: CallbackPlaces | None = None,
    ) -> None:
        """`token`: the beginning of all ids of executions of this horse."""
        self._channel = channel
        self._connection = connection
        self._settle_and_claim = settle_and_claim
        self._settings = settings
        self._worker_name = worker_name
        self._by_rq = by_rq
        self._callback_places = callback_places  # None: callbacks may run in all horses, or run elsewhere
        self._jobs_left = limits.jobs or sys.maxsize
        self._max_memory_kib = limits.memory_mib * 1024 or sys.maxsize
        self._kept_house_at = time.monotonic()
        self._job_log = JobLog()
        self._tally = LiveTally(channel.send)
        self._outcomes = Outcomes(connection, settings, by_rq, self._tally)
        self._time_limit = TimeLimit()
        self._capture = Capture(connection, settings.failure_ttl_seconds, channel.note_line)
        self._armed_claim = armed_claim
        self._token = token
        self._claims = 0
        self._short_types = ShortTypes()
        self._ended = 0  # how many bytes of outcomes the channel has that are not settled yet
        self._announced_group_at = float("-inf")

    def run(self) -> None:
        """Settle and claim, again and again. Raises the driver's errors that waiting cannot cure."""
        try:
            self._run()
        except RedisError:
            if not self._stopping():
                raise  # else the worker settles what the channel names

    def _run(self) -> None:
        self._capture.install()
        outcomes: list[Outcome] = []
        armed: tuple[str, Answer] | None = None  # what Redis has claimed while the horse slept
        while True:
            if armed:
                claim, answer = armed
                armed = None
            else:
                self._keep_house()
                claim = "" if self._stopping() or self._jobs_left <= 0 else self._next_claim()
                answer = self._settle(outcomes, claim)
            outcomes = []
            if answer.claim == "claimed":
                outcomes = self._perform_all(answer.jobs, claim)
            elif answer.claim == "suspended":
                self._sleep(SUSPENDED)
            elif answer.claim == "empty":
                armed = self._sleep(IDLE)
            elif answer.claim == "others":
                armed = self._sleep(IDLE_OTHERS)
            elif not claim:
                self._tally.send()
                return

    def _settle(self, outcomes: Sequence[Outcome], claim: str, group: str = "") -> Answer:
        """Settle what has run, and claim the next under `claim`. `group`: the claim of jobs still to run."""
        # Keep announcing the last job until its outcome is stored; the channel has the outcomes of others.
        state = State(Phase.CLAIMING, claim or group, ended=self._ended)
        if outcomes:
            last = outcomes[-1]
            state = state._replace(job=last.job, execution=last.execution, origin=last.origin, began=last.began)
        self._channel.write(state)
        answer = self._settle_and_claim(
            outcomes,
            claim,
            most=min(MOST_IN_GROUP, self._jobs_left) if self._short_types.text else 1,
            short=self._short_types.text,
            give_up=_never if outcomes else self._stopping,
        )
        for left, outcome, settled in zip(reversed(range(len(outcomes))), outcomes, answer.settled, strict=True):
            if left and settled == "lost" and self._channel.group_over:
                continue  # the worker has stored it, while the last one of these ran for long
            self._outcomes.note_settled(outcome, settled)
        self._ended = 0
        return answer

    def _perform_all(self, jobs: Sequence[Claimed], claim: str) -> list[Outcome]:
        """Run the claimed jobs, of which several are a group; return the outcomes that are not settled yet."""
        self._channel.group_over = False
        if len(jobs) > 1:
            self._announce_group()
        outcomes: list[Outcome] = []
        settle_at = time.monotonic() + GROUP_SECONDS
        for left, claimed in zip(reversed(range(len(jobs))), jobs, strict=True):
            if self._channel.group_over:
                break
            outcome = self._perform(claimed, claim)
            self._jobs_left -= 1
            if not outcome:
                continue
            if output := self._capture.end():
                outcome = outcome._replace(output=output)
            self._short_types.add(outcome.job_type, outcome.ended - outcome.began)
            outcomes.append(outcome)
            if left and (not self._note_ended(outcome) or time.monotonic() > settle_at):
                self._settle(outcomes, "", group=claim)
                outcomes = []
                settle_at = time.monotonic() + GROUP_SECONDS
        return outcomes

    def _announce_group(self) -> None:
        """Let the worker look for a while whether a job of a group turns out to be long."""
        now = time.monotonic()
        if now > self._announced_group_at + ANNOUNCE_GROUP_SECONDS:
            self._announced_group_at = now
            self._channel.send(GROUPS)

    def _note_ended(self, outcome: Outcome) -> bool:
        """Write an outcome to the channel; return False if it must be settled at once."""
        is_plain = outcome.kind == "finished" and outcome.output is None and len(outcome.result) <= MAX_NOTED_BYTES
        ended = self._channel.write_outcome(tuple(outcome), self._ended) if is_plain else 0
        self._ended = ended or self._ended
        return bool(ended)

    def _stopping(self) -> bool:
        return self._channel.stop

    def _keep_house(self) -> None:
        now = time.monotonic()
        if now - self._kept_house_at < HOUSEKEEPING_SECONDS:
            return
        self._kept_house_at = now
        if resource.getrusage(resource.RUSAGE_SELF).ru_maxrss > self._max_memory_kib:
            self._jobs_left = 0

    def _next_claim(self) -> str:
        """Return the id of a new execution."""
        self._claims += 1
        return f"{self._token}{self._claims:08x}"

    def _sleep(self, why: bytes) -> tuple[str, Answer] | None:
        """Sleep until the worker wakes the horse, or until Redis has claimed a job; return claim and answer."""
        self._channel.write(State(Phase.RESTING))
        self._tally.send()
        self._channel.send(why)
        if self._receive(1) != ARM:
            return None
        names = self._armed_claim.queues
        reports = self._receive(1) != b"\0"
        muted = {name for name, is_muted in zip(names, self._receive(len(names)), strict=True) if is_muted}
        claim = self._next_claim()
        self._channel.write(State(Phase.ARMED, claim))
        try:
            self._armed_claim.arm(claim, muted)
            if claimed := self._armed_claim.wait(self._channel.horse_end):
                if reports:  # else the worker need not wake up for it
                    self._channel.send(AWAKE)
                return claim, Answer([], "claimed", [claimed])
            self._armed_claim.disarm()
        except RedisError:
            self._armed_claim.close()
        self._channel.send(AWAKE)
        if self._stopping():
            return None
        # A job may have come just now; and the worker may have woken the horse.
        self._channel.write(State(Phase.CLAIMING, claim))
        return claim, self._settle_and_claim((), claim, was_armed=True, give_up=self._stopping)

    def _receive(self, count: int) -> bytes:
        received = b""
        while len(received) < count:
            received += (some := self._channel.horse_end.recv(count - len(received)))
            if not some:  # the worker has closed its end
                sys.exit(0)
        return received

    def _perform(self, claimed: Claimed, claim: str) -> Outcome | None:
        """Run the claimed job; return what becomes of it; None if there is nothing to settle."""
        execution, began = claimed.execution, time.time()
        limit = 0.0
        current_trace.set(Trace.of_job(claimed.fields))
        current_sender.set(sender_of(claimed.fields))
        try:
            job = ClaimedJob.of(claimed.id, claimed.fields, self._connection, self._worker_name)
            limit = job.limit_seconds
        except Exception:  # noqa: BLE001  another program may have written anything: this job fails, the horse goes on
            origin = claimed.fields.get(b"origin", b"default").decode(errors="replace")
            if not self._announce(claimed, claim, origin, began, 0.0):
                return None
            return self._outcomes.unreadable(claimed, began)
        places = self._callback_places
        if places and job.type_name == CALLBACK_TYPE and (put_off := self._without_place(job, places, began)):
            return self._outcomes.postponed(job, execution, began, PUT_OFF_SECONDS, put_off)
        deadline = time.monotonic() + limit + HARD_LIMIT_SECONDS if limit > 0 else 0.0
        if not self._announce(claimed, claim, job.origin, began, deadline):
            return None
        self._job_log.begins(job)
        self._capture.begin(job)
        if job.needs_rqs_code:
            self._outcomes.count_wait(job, claimed.fields, began)
            succeeded = self._by_rq.run(job, execution)
            outcome = "finished" if succeeded else "failed"
            self._tally.add(job.type_name, outcome, time.time() - began, job.origin)
            self._outcomes.write_output(job.id, self._capture.end())
            return None
        token = _current_job.set(job)
        try:
            with self._time_limit(limit):
                text = job.func.text(*job.args, **job.kwargs)
        except BaseException as error:  # noqa: BLE001  sys.exit() in a job fails it, too
            self._capture.restore_logging()  # before what follows is logged
            failure = self._outcomes.failed(job, execution, began)
            if failure.kind == "failed" and hooks.failures:
                deadline = time.monotonic() + FAILURE_HOOKS_SECONDS + HARD_LIMIT_SECONDS
                self._channel.write(
                    State(Phase.RUNNING, claim, job.id, execution, job.origin, began, deadline, self._ended)
                )
                self._outcomes.call_failure_hooks(job, error, self._time_limit(FAILURE_HOOKS_SECONDS))
            return failure
        finally:
            _current_job.reset(token)
            self._outcomes.count_wait(job, claimed.fields, began)  # here, so that the job begins sooner
            if places and job.type_name == CALLBACK_TYPE:
                places.release()
        return self._outcomes.finished(job, execution, began, text)

    def _announce(self, claimed: Claimed, claim: str, origin: str, began: float, deadline: float) -> bool:
        """Write to the channel that a job begins; return False if it must not, because its group is over."""
        self._channel.write(
            State(Phase.RUNNING, claim, claimed.id, claimed.execution, origin, began, deadline, self._ended)
        )
        return not self._channel.group_over  # looked up after the write: see HorseProcess.end_long_group

    def _without_place(self, job: ClaimedJob, places: CallbackPlaces, began: float) -> PutOff | None:
        """Return how a callback is put off for which this worker has no place; None: it has one."""
        put_off = put_off_again(job.put_off, job.attempt, CALLBACK_PLACE, began)
        return None if put_off is None or places.take(self._connection, began - put_off.since) else put_off


def _never() -> bool:
    return False
