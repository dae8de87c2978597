"""A work-horse: the child process that claims, runs and settles one job after another, until it must stop."""

import contextlib
import logging
import resource
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from redis import Redis
from redis.exceptions import RedisError
from rq.job import _current_job

from taskqueue.enqueue.job_fields import CALLBACK_TYPE
from taskqueue.errors import HostPaused
from taskqueue.hooks import registry as hooks
from taskqueue.hooks.running import report_failure
from taskqueue.run.context import write_progress
from taskqueue.settings import Settings
from taskqueue.store.keys import Field, decoded, job_key
from taskqueue.store.times import rq_now
from taskqueue.tasks.log_lines import write_lines
from taskqueue.tasks.put_off import CALLBACK_PLACE, PutOff
from taskqueue.tasks.reason import ReasonCode
from taskqueue.tasks.running import CurrentTask
from taskqueue.telemetry.counters import Tally
from taskqueue.telemetry.log import about
from taskqueue.telemetry.trace import Trace, current_sender, current_trace
from taskqueue.worker.armed_claim import ArmedClaim
from taskqueue.worker.by_rq import ByRQ
from taskqueue.worker.callback_places import PUT_OFF_SECONDS, CallbackPlaces
from taskqueue.worker.capture import Capture, CapturedOutput
from taskqueue.worker.decision import (
    Ending,
    How,
    is_unknown_here,
    postponed_seconds,
    put_off_again,
    seconds_to_wait,
)
from taskqueue.worker.error import current_error
from taskqueue.worker.horse_channel import (
    ANNOUNCE_GROUP_SECONDS,
    ARM,
    AWAKE,
    GROUPS,
    IDLE,
    SUSPENDED,
    HorseChannel,
    Phase,
    State,
)
from taskqueue.worker.job import ClaimedJob
from taskqueue.worker.job_log import JobLog
from taskqueue.worker.settle_and_claim import Answer, Claimed, Outcome, SettleAndClaim, outcome_of, result_text
from taskqueue.worker.short_types import ShortTypes
from taskqueue.worker.time_limit import TimeLimit

log = logging.getLogger(__name__)

DEFAULT_TIMEOUT_SECONDS = 180  # RQ's, for a job without a timeout
FAILURE_HOOKS_SECONDS = 10.0  # for all @when_failed hooks of a task
HARD_LIMIT_SECONDS = 1.5  # after its timeout the worker kills a job that has swallowed the exception
READABLE = frozenset(b"created_at status data origin description".split())  # kept of a malformed hash
SENDER = Field.BY.encode()
GONE = -2  # Redis's answer to TTL for a key that does not exist
MOST_IN_GROUP = 8  # jobs that are claimed together
GROUP_SECONDS = 0.005  # after which the outcomes of a group are stored
MAX_NOTED_BYTES = 1000  # of a result that waits in the channel
HOUSEKEEPING_SECONDS = 1.0  # how often a horse checks its memory, and sends its counts


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
        self._callback_places = callback_places  # None: callbacks may run in all horses
        self._jobs_left = limits.jobs or sys.maxsize
        self._max_memory_kib = limits.memory_mib * 1024 or sys.maxsize
        self._kept_house_at = time.monotonic()
        self._job_log = JobLog()
        self._tally = Tally()
        self._time_limit = TimeLimit()
        self._capture = Capture(channel, connection, settings.failure_ttl_seconds)
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
            self._keep_house()
            if armed:
                claim, answer = armed
                armed = None
            else:
                claim = "" if self._stopping() or self._jobs_left <= 0 else self._next_claim()
                answer = self._settle(outcomes, claim)
            outcomes = []
            if answer.claim == "claimed":
                outcomes = self._perform_all(answer.jobs, claim)
            elif answer.claim == "suspended":
                self._sleep(SUSPENDED)
            elif answer.claim in ("empty", "others"):
                armed = self._sleep(IDLE)
            elif not claim:
                self._send_tally()
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
            self._settled(outcome, settled)
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

    def _settled(self, outcome: Outcome, settled: str) -> None:
        if settled == "lost":
            self._job_log.lost(outcome)
            return
        if settled == "canceled":
            self._job_log.canceled(outcome)
            outcome = outcome._replace(kind="stopped")
        if settled == "dependents":
            self._by_rq.settle(outcome)
            self._write_output(outcome.job, outcome.output)
        self._job_log.settled(outcome)
        if outcome.kind != "postponed":  # nothing has run
            self._tally.add(outcome.job_type, outcome.kind, outcome.ended - outcome.began, outcome.origin)

    def _write_output(self, job_id: str, output: CapturedOutput | None) -> None:
        """Write the last output of a job that RQ's own code has settled."""
        if output:
            ttl = self._connection.ttl(job_key(job_id))
            failure_ttl = self._settings.failure_ttl_seconds
            write_lines(self._connection, job_id, output.attempt, output.lines, ttl if ttl > 0 else failure_ttl)
            if output.progress and ttl != GONE:
                write_progress(self._connection, job_id, output.progress)

    def _stopping(self) -> bool:
        return self._channel.stop

    def _keep_house(self) -> None:
        now = time.monotonic()
        if now - self._kept_house_at < HOUSEKEEPING_SECONDS:
            return
        self._kept_house_at = now
        self._send_tally()
        if resource.getrusage(resource.RUSAGE_SELF).ru_maxrss > self._max_memory_kib:
            self._jobs_left = 0

    def _send_tally(self) -> None:
        self._channel.send(self._tally.take().encode())

    def _next_claim(self) -> str:
        """Return the id of a new execution."""
        self._claims += 1
        return f"{self._token}{self._claims:08x}"

    def _sleep(self, why: bytes) -> tuple[str, Answer] | None:
        """Sleep until the worker wakes the horse, or until Redis has claimed a job; return claim and answer."""
        self._channel.write(State(Phase.RESTING))
        self._send_tally()
        self._channel.send(why)
        if self._receive(1) != ARM:
            return None
        names = self._armed_claim.queues
        reports = self._receive(1) != b"\0"
        muted = {name for name, is_muted in zip(names, self._receive(len(names)), strict=True) if is_muted}
        claim = self._next_claim()
        self._channel.write(State(Phase.ARMED, claim))
        try:
            answer = self._armed_claim.wait(claim, muted, self._channel.horse_end)
            if answer:
                if reports:  # else the worker need not wake up for it
                    self._channel.send(AWAKE)
                return claim, answer
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
        current_sender.set(decoded(claimed.fields.get(SENDER, b"")))
        try:
            job = ClaimedJob.of(claimed.id, claimed.fields, self._connection, self._worker_name)
            limit = float(job.timeout or DEFAULT_TIMEOUT_SECONDS)
        except Exception:  # noqa: BLE001  another program may have written anything: this job fails, the horse goes on
            return self._unreadable(claimed, claim, began)
        if without_place := self._without_place(job, execution, began):
            return without_place
        deadline = time.monotonic() + limit + HARD_LIMIT_SECONDS if limit > 0 else 0.0
        if not self._announce(claimed, claim, job.origin, began, deadline):
            return None
        self._job_log.begins(job)
        if not job.waits:
            self._count_wait(job, claimed.fields, began)
        self._capture.begin(job)
        if job.needs_rqs_code:
            succeeded = self._by_rq.run(job, execution)
            outcome = "finished" if succeeded else "failed"
            self._tally.add(job.type_name, outcome, time.time() - began, job.origin)
            self._write_output(job.id, self._capture.end())
            return None
        token = _current_job.set(job)
        try:
            with self._time_limit(limit):
                text = job.func.text(*job.args, **job.kwargs)
        except BaseException:  # noqa: BLE001  sys.exit() in a job fails it, too
            return self._failure(job, execution, began)
        finally:
            _current_job.reset(token)
            if self._callback_places and job.type_name == CALLBACK_TYPE:
                self._callback_places.release()
        return Outcome(
            kind="finished",
            job=claimed.id,
            execution=execution,
            origin=job.origin,
            job_type=job.type_name,
            began=began,
            ended=time.time(),
            ttl=self._settings.result_ttl_seconds if job.result_ttl is None else job.result_ttl,
            result=b"" if text == "null" else result_text(text),
        )

    def _announce(self, claimed: Claimed, claim: str, origin: str, began: float, deadline: float) -> bool:
        """Write to the channel that a job begins; return False if it must not, because its group is over."""
        self._channel.write(
            State(Phase.RUNNING, claim, claimed.id, claimed.execution, origin, began, deadline, self._ended)
        )
        return not self._channel.group_over  # looked up after the write: see HorseProcess.end_long_group

    def _count_wait(self, job: ClaimedJob, raw: Mapping[bytes, bytes], began: float) -> None:
        with contextlib.suppress(KeyError, ValueError):  # another program may have written anything, or nothing
            queued_at = datetime.fromisoformat(raw[b"enqueued_at"].decode()).timestamp()
            waited = max(0.0, began - queued_at)  # the clocks of two machines may differ
            self._tally.add_wait(job.type_name, waited, job.origin)

    def _failure(self, job: ClaimedJob, execution: str, began: float) -> Outcome:
        """Return what becomes of a job whose run has raised the exception that is being handled."""
        self._capture.restore_logging()  # before what follows is logged
        error = sys.exc_info()[1]
        if (
            job.is_ours
            and is_unknown_here(error, job.type_name)
            and (delay := postponed_seconds(job.unknown_since, time.time()))
        ):
            if not job.unknown_since:
                self._job_log.postponed(job, error)
            return self._postponed(job, execution, began, delay)
        text = current_error()
        if isinstance(error, HostPaused):
            if put_off := put_off_again(job.put_off, job.attempt, error.host, time.time()):
                self._job_log.put_off(job, str(error))
                return self._postponed(job, execution, began, max(1, seconds_to_wait(error)), put_off)
            text = f"{text.rstrip()} The task has waited for it for an hour."
        ending = Ending(How.of_error(error), text, retry_after=seconds_to_wait(error))
        outcome = outcome_of(job, execution, ending, began, self._settings.failure_ttl_seconds)
        self._job_log.failed(job, outcome)
        if outcome.kind == "failed" and error and hooks.failures:
            self._call_failure_hooks(job, error)
        return outcome

    def _call_failure_hooks(self, job: ClaimedJob, error: BaseException) -> None:
        """Call the `@when_failed` hooks, within a time limit of their own."""
        deadline = time.monotonic() + FAILURE_HOOKS_SECONDS + HARD_LIMIT_SECONDS
        self._channel.write(self._channel.read()._replace(deadline=deadline))
        task = CurrentTask(job.id, self._connection, job.type_name)
        try:
            with self._time_limit(FAILURE_HOOKS_SECONDS):
                report_failure(task, error)
        except BaseException as raised:  # noqa: BLE001  sys.exit() in a hook, too: the task must still be settled
            log.error("A @when_failed hook of task %s has ended with %r", job.id, raised, extra=about(job.id))  # noqa: TRY400

    def _postponed(
        self, job: ClaimedJob, execution: str, began: float, delay: int, put_off: PutOff | None = None
    ) -> Outcome:
        """Return an outcome by which the job comes back after `delay` seconds, no attempt used.

        Without `put_off` it is left to a worker with newer code, and the error that is being handled is stored.
        """
        return Outcome(
            kind="postponed",
            job=job.id,
            execution=execution,
            origin=job.origin,
            job_type=job.type_name,
            began=began,
            ended=time.time(),
            ttl=self._settings.failure_ttl_seconds,
            error="" if put_off else current_error(),
            delay=delay,
            failure=put_off.text() if put_off else "",
        )

    def _without_place(self, job: ClaimedJob, execution: str, began: float) -> Outcome | None:
        """Return an outcome that puts off a callback for which this worker has no place; otherwise None."""
        if self._callback_places is None or job.type_name != CALLBACK_TYPE:
            return None
        put_off = put_off_again(job.put_off, job.attempt, CALLBACK_PLACE, began)
        if put_off is None or self._callback_places.take(self._connection, began - put_off.since):
            return None
        return self._postponed(job, execution, began, PUT_OFF_SECONDS, put_off)

    def _unreadable(self, claimed: Claimed, claim: str, began: float) -> Outcome | None:
        """Return a failure for a hash that is no job; None if its group is over. Raises the driver's errors."""
        origin = claimed.fields.get(b"origin", b"default").decode(errors="replace")
        if not self._announce(claimed, claim, origin, began, 0.0):
            return None
        log.error("Task %s is unreadable and has failed: %s", claimed.id, sys.exc_info()[1],
                  extra=about(claimed.id))  # fmt: skip
        # Remove the fields that are malformed: RQ's own tools would fail on them, too.
        key = job_key(claimed.id)
        self._connection.hset(key, mapping={"created_at": rq_now(), "status": "started"})
        self._connection.hdel(key, *(claimed.fields.keys() - READABLE), "worker_name")
        return Outcome(
            kind="failed",
            job=claimed.id,
            execution=claimed.execution,
            origin=origin,
            job_type="unreadable",
            began=began,
            ended=time.time(),
            ttl=self._settings.failure_ttl_seconds,
            error=current_error(),
            reason=ReasonCode.UNREADABLE,
        )


def _never() -> bool:
    return False
