"""All calls of the model's test into the engine. Where the engine changes how it is called, change only this file.

`Engine` is what clients, operators and RQ's own tools call. `Worker` plays one worker without any process: it
calls what a work-horse and its parent call. A `Call` is one exchange of a work-horse with Redis, whose answers
may be lost.
"""

import selectors
import socket
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from random import Random
from typing import Any, Literal

from greenlet import getcurrent, greenlet
from redis import Redis
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisError
from rq import Queue, Retry, SimpleWorker
from rq.job import Dependency, Job
from rq.registry import clean_registries
from rq.serializers import JSONSerializer
from rq.suspension import resume, suspend

from taskqueue.control.operations import Operations
from taskqueue.control.pauses import Pauses
from taskqueue.control.type_limits import TypeControl
from taskqueue.enqueue.batch import Batch, Batches
from taskqueue.enqueue.idempotency import IdempotencyKey
from taskqueue.enqueue.options import SubmitOptions, TaskSpec
from taskqueue.enqueue.queue import TaskQueue
from taskqueue.enqueue.schedule import Schedule
from taskqueue.enqueue.schedule_store import Schedules
from taskqueue.enqueue.submission import accepted
from taskqueue.errors import TaskQueueError
from taskqueue.jobtypes.limits import Limits, declare
from taskqueue.jobtypes.registry import JobTypes
from taskqueue.jobtypes.retry import RetryDelays
from taskqueue.settings import Settings
from taskqueue.store.connection import connect_for_requests
from taskqueue.telemetry.counters import Tally
from taskqueue.worker import settle_and_claim
from taskqueue.worker.abandoned_runs import AbandonedRuns
from taskqueue.worker.armed_claim import ArmedClaim
from taskqueue.worker.by_rq import ByRQ
from taskqueue.worker.decision import Ending, How
from taskqueue.worker.horse_channel import Phase, State
from taskqueue.worker.horse_process import HorseProcess
from taskqueue.worker.job import ClaimedJob, RegisteredJob
from taskqueue.worker.leases import Capacity, Leases
from taskqueue.worker.maintenance.batch_finisher import BatchFinisher
from taskqueue.worker.maintenance.due_mover import DueMover
from taskqueue.worker.maintenance.limit_releaser import LimitReleaser
from taskqueue.worker.maintenance.lost_jobs import LostJobs
from taskqueue.worker.maintenance.missed_callbacks import MissedCallbacks
from taskqueue.worker.maintenance.schedule_runner import ScheduleRunner
from taskqueue.worker.settle_and_claim import Answer, Outcome, SettleAndClaim, outcome_of
from taskqueue.worker.settles_by_rq import SettlesByRQ
from tests.model.model import End

QUEUES = ("high", "default", "low")  # the most important first
RETRY_SECONDS = 3600
LIMITED = {"single": Limits(concurrency=1), "pair": Limits(concurrency=2), "hourly": Limits(rate="2/hour")}
PAST = -7200.0  # seconds from now
LEASE_SECONDS = 1000  # a lease runs out only where a rule says so, however slow the machine is

SHORT = {"plain": 600, "patient": 2000}  # microseconds: the types whose jobs may be claimed in groups
MOST_IN_GROUP = 8

Loss = Literal["request", "answer"]
"""What a broken connection loses: Redis has not seen the call, or has executed it.

Of a claim that waits in Redis: the worker wakes the horse before that, or the connection breaks while it waits.
"""


def job_types(known: JobTypes) -> JobTypes:
    """Return the job types of the model: they are never run here, so one function serves all."""
    types = JobTypes()
    at_once, later = RetryDelays(first=0, longest=0), RetryDelays(first=RETRY_SECONDS, longest=RETRY_SECONDS)
    for name in ("plain", "patient", *LIMITED):
        limits, delays = LIMITED.get(name, Limits()), later if name == "patient" else at_once
        types.add(replace(known["generic"], name=name, attempts=1, retry_delays=delays, limits=limits))
    return types


@dataclass(frozen=True)
class Claimed:
    """A run that a worker was given."""

    job_id: str
    execution: str
    origin: str
    began: float
    job: ClaimedJob

    @property
    def member(self) -> str:
        """Its entry in the started registry."""
        return f"{self.job_id}:{self.execution}"


class Engine:
    """The engine as clients, operators and RQ's tools see it."""

    def __init__(self, redis: Redis, url: str, types: JobTypes) -> None:
        self.redis, self.url, self.types = redis, url, types
        self.chance = Random()  # for all ids, so that an example is the same each time that it is played
        # Else the first call of all would take another way than the same call later.
        redis.script_load(settle_and_claim.SCRIPT)
        self.settings = Settings(redis_url=url, queues=QUEUES)
        self._queue = TaskQueue(redis, self.settings, types)
        self._batches = Batches(redis, self._queue.submissions, types)
        self._operations = Operations(redis, self.settings.failure_ttl_seconds)
        self._pauses = Pauses(redis, self.settings)
        self._types = TypeControl(redis, types)
        self._schedules = Schedules(redis, self._queue.submissions, types)
        self._rq_queues = [self._rq_queue(name) for name in QUEUES]
        self.chores: dict[str, Callable[[], object]] = {
            "schedules": ScheduleRunner(redis, self.settings, types).run,
            "batches": BatchFinisher(redis, self.settings.result_ttl_seconds).run,
            "callbacks": MissedCallbacks(redis).run,
            "limits": LimitReleaser(redis).run,
            "due": DueMover(redis, self._rq_queues).run,
        }

    def begin(self) -> None:
        """Begin with an empty Redis."""
        self.chance.seed(0)
        self.redis.flushall()
        declare(self.redis, self.types)

    # Clients

    def submit(self, job_type: str, options: SubmitOptions, key: str = "", times: int = 1) -> tuple[str, str]:
        """Submit one task, sent so many times because its answer was lost; return outcome and id."""
        idempotency = IdempotencyKey.of(key, b"", f"{job_type} {options}") if key else None
        submission = self._queue.submissions.prepare(self.types[job_type], {}, options, idempotency=idempotency)
        answers = [accepted(submission, self._queue.submissions.send(submission)) for _ in range(times)]
        assert len({answer.task.id for answer in answers}) == 1, "a call that was sent again names another task"
        return answers[0].outcome, answers[0].task.id

    def submit_batch(self, items: list[dict[str, Any]], on_complete: str = "") -> tuple[str, list[str], str]:
        """Submit a batch; return its id, the ids of its tasks, and that of the task at its end or ""."""
        draft = self._batches.prepare(items, on_complete=TaskSpec(task_type=on_complete) if on_complete else None)
        queued = self._batches.submit(draft)
        return queued.batch_id, [str(result) for result in queued.results], queued.on_complete or ""

    def batch(self, batch_id: str) -> Batch:
        """Return a batch as it is shown."""
        return self._batches.get(batch_id)

    def cancel(self, job_id: str) -> str:
        """Cancel a task; return "canceled", "stopping" or "refused"."""
        return self._answer(lambda: self._operations.cancel(job_id))

    def requeue(self, job_id: str) -> str:
        """Requeue a task; return "done" or "refused"."""
        return self._answer(lambda: self._operations.requeue(job_id))

    def delete(self, job_id: str) -> str:
        """Delete a task; return "done" or "refused"."""
        return self._answer(lambda: self._operations.delete(job_id))

    @staticmethod
    def _answer(act: Callable[[], str | None]) -> str:
        try:
            return act() or "done"
        except TaskQueueError:
            return "refused"

    def pause(self, queue: str) -> None:
        """Pause a queue."""
        self._pauses.pause(queue)

    def resume(self, queue: str) -> None:
        """Resume a queue."""
        self._pauses.resume(queue)

    def pause_type(self, job_type: str) -> None:
        """Pause a job type."""
        self._types.pause(job_type)

    def resume_type(self, job_type: str) -> None:
        """Resume a job type."""
        self._types.resume(job_type)

    def change_limits(self, job_type: str, concurrency: int | None) -> None:
        """Change the limits of a job type; None: no limit."""
        self._types.change(job_type, Limits(concurrency=concurrency))

    def reset_limits(self, job_type: str) -> None:
        """Let the limits of the code hold again."""
        self._types.reset(job_type)

    def start_worker_code(self) -> None:
        """Do what each worker does with the limits when it starts."""
        declare(self.redis, self.types)

    def put_schedule(self, name: str) -> None:
        """Store a schedule of plain tasks."""
        self._schedules.put(name, Schedule(task_type="plain", interval=RETRY_SECONDS))

    def last_task(self, schedule: str) -> str | None:
        """Return the id of a schedule's latest task."""
        return self._schedules.get(schedule).last_task

    # RQ's own code

    def _rq_queue(self, name: str) -> Queue:
        return Queue(name, connection=self.redis, serializer=JSONSerializer)

    def rq_fetch(self, job_id: str) -> Job:
        """Read a job by RQ's own class. Raises what a malformed job makes RQ raise."""
        job = Job.fetch(job_id, connection=self.redis, serializer=JSONSerializer)
        job.get_executions()
        job.results()
        return job

    def rq_enqueue(self, queue: str, retries: int, parent: str = "", allow_failure: bool = False) -> str:
        """Enqueue a job by RQ's own code; return its id."""
        depends_on = Dependency([self.rq_fetch(parent)], allow_failure=allow_failure) if parent else None
        retry = Retry(retries) if retries else None
        job = self._rq_queue(queue).enqueue("taskqueue.call.generic", retry=retry, depends_on=depends_on)
        return str(job.id)

    def rq_cancel(self, job_id: str) -> None:
        """Cancel a job by RQ's own code."""
        self.rq_fetch(job_id).cancel()

    def rq_requeue(self, job_id: str) -> None:
        """Requeue a failed job by RQ's own code."""
        self.rq_fetch(job_id).requeue()

    def rq_delete(self, job_id: str) -> None:
        """Delete a job by RQ's own code."""
        self.rq_fetch(job_id).delete()

    def rq_clean(self) -> None:
        """Clean all registries, as a stock `rq worker` does when it starts and every few minutes."""
        for queue in self._rq_queues:
            clean_registries(queue)
        SimpleWorker.all(connection=self.redis)

    def rq_suspend(self, holds: bool) -> None:
        """Suspend all workers, or let them go on."""
        suspend(self.redis) if holds else resume(self.redis)

    # Time passes: nobody sleeps, the stored times are moved instead

    def make_due(self, job_id: str, queue: str) -> None:
        """Let a scheduled job's time come."""
        self.redis.zadd(f"rq:scheduled:{queue}", {job_id: time.time() + PAST}, xx=True)

    def make_callbacks_due(self) -> None:
        """Let the time come at which the scheduling worker looks for missed callbacks again."""
        for job_id in self.redis.zrange("tq:callbacks:owed", 0, -1):
            self.redis.zadd("tq:callbacks:owed", {job_id: time.time() + PAST}, xx=True)

    def make_schedule_due(self, name: str) -> None:
        """Let a schedule be due: a second ago."""
        due = time.time() - 1
        self.redis.hset(f"tq:schedule:{name}", mapping={"next_run": due, "updated_at": due - RETRY_SECONDS})
        self.redis.zadd("tq:schedules", {name: due})

    def expire(self, job_id: str) -> None:
        """Let the time pass until which a task may begin."""
        self.redis.hset(f"rq:job:{job_id}", "tq:expires_at", f"{time.time() + PAST:.3f}")

    def pass_window(self, job_type: str) -> None:
        """Let the period of a rate limit pass."""
        self.redis.delete(f"tq:limit:{job_type}:starts")

    def run_out(self, queue: str, member: str) -> None:
        """Let a lease run out."""
        self.redis.zadd(f"rq:wip:{queue}", {member: time.time() - 60}, xx=True)

    def forget(self, job_id: str) -> None:
        """Let the time pass for which an ended job is kept."""
        key = f"rq:job:{job_id}"
        self.redis.delete(key, f"rq:results:{job_id}", f"tq:logs:{job_id}", f"{key}:dependents")


class Wire:
    """A work-horse's connection to Redis, on which a call may be lost."""

    def __init__(self, real: Any) -> None:
        self._real = real
        self.loses: Loss | None = None
        self.losing_call = 0  # how many more calls go well before that
        self.sent: Sequence[bytes] = ()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._real, name)

    def send_packed_command(self, command: Sequence[bytes]) -> None:
        """Send a call, unless it is the one whose request is lost."""
        self.sent = command
        if self.loses != "request" or self.losing_call:
            self._real.send_packed_command(command)

    def read_response(self) -> Any:
        """Return the answer; where it is lost, wait until `Call.send_again`, and raise the driver's error."""
        if self.loses != "request" or self.losing_call:
            answer = self._real.read_response()
        if not self.loses:
            return answer
        if self.losing_call:
            self.losing_call -= 1
            return answer
        self.loses = None
        getcurrent().parent.switch()
        raise RedisConnectionError("the connection was cut")


class Bells:
    """The selector of a claim that waits in Redis: nobody waits in the test, but for `Call.send_again`."""

    def __init__(self, real: selectors.BaseSelector) -> None:
        self._real = real
        self.is_new = False  # the claim has just been left in Redis
        self.loses: Loss | None = None

    def __getattr__(self, name: str) -> Any:
        return getattr(self._real, name)

    def select(self, seconds: float) -> list[tuple[Any, int]]:
        """Return what can be read; if there is nothing, the worker has woken the horse."""
        if self.is_new:
            self.is_new = False
            getcurrent().parent.switch()
        loses, self.loses = self.loses, None
        if loses == "answer":
            raise RedisConnectionError("the connection was cut")
        ready = [] if loses else [(key, events) for key, events in self._real.select(0) if key.data]
        return ready or [(selectors.SelectorKey(self, 0, selectors.EVENT_READ, None), selectors.EVENT_READ)]


class Group:
    """A group of short jobs that a work-horse runs one after another; its channel is the engine's own."""

    def __init__(self, runs: list[Claimed], claim: str) -> None:
        self.runs, self.claim = runs, claim
        self.at = 0  # the place of the job that runs
        self.ended: list[Claimed] = []  # with the end "finished", and not settled yet
        self.horse = HorseProcess(Tally())
        self._bytes = 0
        self._begin()

    @property
    def running(self) -> Claimed:
        """The job that runs."""
        return self.runs[self.at]

    @property
    def to_begin(self) -> list[Claimed]:
        """The jobs that have not begun, and are to."""
        return [] if self.is_over else self.runs[self.at + 1 :]

    @property
    def is_over(self) -> bool:
        """Whether the worker has noticed that a job runs for long."""
        return self.horse.channel.group_over

    def end_early(self) -> None:
        """Let the worker notice that the job runs for long."""
        self.horse.channel.group_over = True

    def note_ended(self, outcome: Outcome) -> None:
        """Let the horse note that the job has finished, and begin the next one."""
        self.ended.append(self.running)
        self._bytes = self.horse.channel.write_outcome(tuple(outcome), self._bytes)
        self.at += 1
        self._begin()

    def note_call(self, claim: str) -> None:
        """Let the horse note that it settles what it has run, and claims."""
        self._write(Phase.CLAIMING, claim or self.claim)

    def note_settled(self) -> None:
        """Let the horse begin the next job after it has settled the earlier ones."""
        self.ended, self._bytes = [], 0
        self.at += 1
        self._begin()

    def _begin(self) -> None:
        self._write(Phase.RUNNING, self.claim)

    def _write(self, phase: Phase, claim: str) -> None:
        run = self.running
        state = State(phase, claim, run.job_id, run.execution, run.origin, run.began, ended=self._bytes)
        self.horse.channel.write(state)


class Call:
    """One exchange of a work-horse with Redis: outcomes of runs, and a claim; it waits where an answer is lost.

    `group`: the group of which it settles the jobs. `is_armed`: the claim waits in Redis until a job comes.
    """

    def __init__(
        self, worker: "Worker", outcomes: list[tuple[Claimed, End]], claim: str, most: int,
        *, short: str = "", group: Group | None = None, is_armed: bool = False,
    ) -> None:  # fmt: skip
        self.outcomes, self.claim, self.most, self.short = outcomes, claim, most, short
        self.group, self.is_armed = group, is_armed
        self.received: list[Claimed] = []
        self.settled: dict[str, str] = {}  # what Redis answered: by entry in the started registry
        self.absorbed: set[str] = set()  # the entries whose outcome the model knows
        self.was_lost = False
        self.came_late = False  # the network has delivered it once more
        self._wire, self._bells = worker.wire, worker.bells
        self._run = greenlet(lambda: worker.exchange(self))
        self._bells.is_new = is_armed

    def gave(self, execution: str) -> bool:
        """Return whether this execution is one that Redis gave to a job for this claim."""
        return bool(self.claim) and (
            execution == self.claim or execution.startswith((f"{self.claim}.", f"{self.claim}-"))
        )

    def send(self, loses: Loss | None = None, losing_call: int = 0) -> None:
        """Send it, or send it again where it waits; lose one of its requests or answers on the way."""
        waits_in_redis = self.is_armed and not self.was_lost
        self._wire.loses, self._wire.losing_call = (None, 0) if waits_in_redis else (loses, losing_call)
        self._bells.loses = loses if waits_in_redis else None
        self._run.switch()
        self._wire.loses = self._bells.loses = None
        self.was_lost = self.was_lost or not self.is_done

    def end(self) -> None:
        """Let the horse die that waits for the answer."""
        self._run.throw()

    @property
    def is_done(self) -> bool:
        """Whether all answers have come."""
        return bool(self._run.dead)


class Worker:
    """One worker: its parent process, and what its horses call."""

    def __init__(self, engine: Engine, name: str) -> None:
        self.name, self._engine = name, engine
        self._connection = connect_for_requests(engine.url)
        self._rq_worker = SettlesByRQ(
            list(QUEUES), name=name, connection=self._connection,
            job_class=RegisteredJob, serializer=JSONSerializer,
            default_result_ttl=engine.settings.result_ttl_seconds,
        )  # fmt: skip
        self._rq_worker.register_birth()
        self._by_rq = ByRQ(self._rq_worker, self._connection)
        self._settle_and_claim = SettleAndClaim(self._connection, name, QUEUES, LEASE_SECONDS)
        self.wire = Wire(self._settle_and_claim._wire)
        self._settle_and_claim._wire = self.wire
        failure_ttl = engine.settings.failure_ttl_seconds
        in_parent = SettleAndClaim(self._connection, name, QUEUES, LEASE_SECONDS)
        abandoned_runs = AbandonedRuns(self._connection, in_parent, self._by_rq, failure_ttl, Tally())
        self._leases = Leases(self._connection, name, abandoned_runs, Tally())
        self._lost_jobs = LostJobs(self._connection, self._rq_worker.queues, abandoned_runs, self._leases)
        armed = self._armed = ArmedClaim(self._connection, self._settle_and_claim, QUEUES, name)
        self.bells = Bells(armed._selector)
        armed._selector = self.bells  # type: ignore[assignment]
        self._interrupt, self._other_end = socket.socketpair()
        self._claims = 0
        self.latest: Call | None = None  # that was sent on the wire

    def close(self) -> None:
        """Close its connections."""
        self._connection.connection_pool.disconnect()
        self.bells.close()
        self._interrupt.close()
        self._other_end.close()

    # What a work-horse does

    def call(
        self, outcomes: list[tuple[Claimed, End]], claims: int,
        *, in_group: bool = False, group: Group | None = None,
    ) -> Call:  # fmt: skip
        """Prepare an exchange: settle these runs, and claim up to so many jobs.

        `in_group`: one job, or a group of short ones. `group`: the group of which it settles the jobs.
        """
        short = "".join(f",{name}:{cost}" for name, cost in SHORT.items()) + "," if in_group else ""
        most = MOST_IN_GROUP if in_group else max(1, claims)
        if group:
            outcomes = [*((run, "finished") for run in group.ended), *outcomes]
        return Call(self, outcomes, self._next_claim() if claims else "", most, short=short, group=group)

    def arm(self) -> Call:
        """Prepare a claim that waits in Redis until a job comes."""
        return Call(self, [], self._next_claim(), 1, is_armed=True)

    def _next_claim(self) -> str:
        self._claims += 1
        return f"{self.name}c{self._claims}"

    def exchange(self, call: Call) -> None:
        """Settle and claim; what Redis answers is noted in `call`."""
        outcomes = [self.outcome(run, end) for run, end in call.outcomes]
        if call.group:
            call.group.note_call(call.claim)
        answer = self._wait(call) if call.is_armed else self._ask(call, outcomes)
        for (run, _), outcome, settled in zip(call.outcomes, outcomes, answer.settled, strict=True):
            call.settled[run.member] = settled
            if settled == "dependents":
                self._by_rq.settle(outcome)
        if answer.claim == "skipped" and call.claim:
            answer = self._ask(call)
        for job_id, execution, fields in answer.jobs:
            job = ClaimedJob.of(job_id, fields, self._connection, self.name)
            call.received.append(Claimed(job_id, execution, job.origin, time.time(), job))

    def _ask(self, call: Call, outcomes: Sequence[Outcome] = (), *, was_armed: bool = False) -> Answer:
        self.latest = call
        return self._settle_and_claim(outcomes, call.claim, most=call.most, short=call.short, was_armed=was_armed)

    def _wait(self, call: Call) -> Answer:
        """Do what a horse does that has nothing to do."""
        try:
            self._armed.arm(call.claim, ())
            if answer := self._armed.wait(self._interrupt):
                return answer
            self._armed.disarm()
        except RedisError:
            self._armed.close()
        return self._ask(call, was_armed=True)

    def outcome(self, run: Claimed, end: End) -> Outcome:
        if isinstance(end, How):
            ending = Ending(end, f"It ended by {end.name}.")
            return outcome_of(run.job, run.execution, ending, run.began, self._engine.settings.failure_ttl_seconds)
        ttl = self._engine.settings.result_ttl_seconds
        job_type, delay = run.job.type_name, RETRY_SECONDS if end == "postponed" else 0
        now = time.time()
        return Outcome(end, run.job_id, run.execution, run.origin, job_type, run.began, now, ttl, delay=delay)

    def deliver_again(self) -> None:
        """Let the network deliver the latest call of the horse once more, late: nobody reads the answer."""
        wire = self._connection.connection_pool.get_connection()
        try:
            wire.send_packed_command(self.wire.sent)
            wire.read_response()
        finally:
            self._connection.connection_pool.release(wire)

    # What the parent does

    @staticmethod
    def _states(runs: Iterable[Claimed], call: Call | None) -> list[State]:
        """Return what the horses have announced: runs that go on, and a call whose answer has not come."""
        states = [State(Phase.RUNNING, run.execution, run.job_id, run.execution, run.origin) for run in runs]
        if call and call.is_armed:
            states.append(State(Phase.ARMED, call.claim))
        elif call and not call.group:
            ended = [(run.job_id, run.execution, run.origin) for run, _ in call.outcomes]
            states += [State(Phase.CLAIMING, call.claim, *run) for run in ended or [()]]
        return states

    def heartbeat(self, runs: Sequence[Claimed], groups: Sequence[Group], call: Call | None) -> set[str]:
        """Renew the leases, and put back the claims that no horse knows; return the executions to stop."""
        states, horses = self._states(runs, call), [group.horse for group in groups]
        reply = self._leases.heartbeat(
            [*states, *(horse.channel.read() for horse in horses)], Capacity(2, 0, 0, 0)
        )
        claims = sorted(reply.claims)  # Redis has them in any order

        def know(job: str, execution: str) -> bool:
            knows = [*(state.knows for state in states), *(horse.knows() for horse in horses)]
            return any(each(job, execution) for each in knows)

        self._leases.settle_ended(claims, [outcome for horse in horses for outcome in horse.ended_before_long()])
        self._leases.give_back_unknown(claims, know)
        return reply.canceled

    def settle_after_horse(
        self, runs: Sequence[Claimed], groups: Sequence[Group], call: Call | None, how: How
    ) -> None:
        """Settle what horses left that ended while they ran these, or waited for the answer to this call."""
        ending = Ending(how, f"Its horse ended: {how.name}.")
        if call:
            call.end()
            self._armed.close()
        for state in self._states(runs, call):
            horse = HorseProcess(Tally())
            horse.channel.write(state)
            self._leases.settle_after(horse, ending)
            horse.channel.close()
        for group in groups:
            self._leases.settle_after(group.horse, ending)

    def find_lost_jobs(self) -> None:
        """Settle the runs whose lease has run out."""
        self._leases._in_touch_since = time.monotonic() - 2 * LEASE_SECONDS
        self._lost_jobs.run()
