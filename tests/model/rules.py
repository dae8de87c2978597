"""The rules of the model's test: Hypothesis chooses which action comes next, and its arguments."""

import sys
from collections.abc import Callable

import hypothesis.strategies as st
from hypothesis import note
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from taskqueue.enqueue.options import SubmitOptions
from taskqueue.worker.decision import How
from tests.model.driver import QUEUES, Engine
from tests.model.model import Job
from tests.model.play import OPTIONS, Play, PlayedWorker

NUMBER = st.integers(0, 7)  # chooses one of the jobs, or workers, that an action fits
SOME = st.lists(NUMBER, max_size=2, unique=True)
YES_OR_NO = st.booleans()
TYPE = st.sampled_from(("plain", "patient", "single", "pair", "hourly"))
QUEUE = st.sampled_from(QUEUES)
MANY = 24  # jobs in one example: more of them only make it harder to read
LOSS = st.sampled_from((None, "answer", "request"))
END = st.sampled_from(("finished", How.RAISED, How.RAISED_PERMANENT, How.TIMED_OUT, "postponed"))
ALIVE = ("waiting", "scheduled", "deferred", "started")
ENDED = ("finished", "failed", "stopped", "canceled")
CALLBACK = OPTIONS["callback_url"]


def some(*statuses: str) -> Callable[["QueueMachine"], bool]:
    """Return a condition: there is a job in one of these statuses."""
    return lambda machine: any(job.status in statuses for job in machine.model.jobs.values())


class QueueMachine(RuleBasedStateMachine):
    """Any sequence of actions, each followed by the invariants; in the end, all jobs come to their end."""

    def __init__(self, engine: Engine) -> None:
        super().__init__()
        self.play = Play(engine)
        self.model = self.play.model

    @invariant()
    def the_engine_agrees_with_the_model(self) -> None:
        self.play.check()

    def teardown(self) -> None:
        try:
            if not sys.exc_info()[1]:
                self.play.end()
        finally:
            self.play.close()

    # Which job, which worker

    def _job(self, number: int, *statuses: str) -> Job | None:
        jobs = [job for job in self.model.jobs.values() if job.status in statuses]
        job = jobs[number % len(jobs)] if jobs else None
        note(f"# {job.name if job else 'no job'} of {statuses}")
        return job

    def _worker(self, number: int, of: list[PlayedWorker] | None = None) -> PlayedWorker:
        workers = of or self.play.workers
        return workers[number % len(workers)]

    def _has_room(self) -> bool:
        return len(self.model.jobs) < MANY

    def _has_runs(self) -> bool:
        return any(worker.runs and not worker.call for worker in self.play.workers)

    def _waits_for_an_answer(self) -> bool:
        return any(worker.call for worker in self.play.workers)

    # Clients

    @precondition(_has_room)
    @rule(job_type=TYPE, queue=QUEUE, attempts=st.integers(1, 3), front=YES_OR_NO, times=st.integers(1, 2))
    def submit(self, job_type: str, queue: str, attempts: int, front: bool, times: int) -> None:
        priority = "front" if front else None
        self.play.submit(job_type, SubmitOptions(queue=queue, attempts=attempts, priority=priority), times=times)

    @precondition(_has_room)
    @rule(job_type=TYPE, delayed=YES_OR_NO, called=YES_OR_NO, expires=YES_OR_NO, key=st.sampled_from(("", "a", "b")))
    def submit_with_options(self, job_type: str, delayed: bool, called: bool, expires: bool, key: str) -> None:
        options = SubmitOptions(
            delay=OPTIONS["delay"] if delayed else None,
            callback_url=CALLBACK if called else None,
            expires_in=100_000 if expires else None,
            dedupe=key or None,
            attempts=2,
        )
        self.play.submit(job_type, options)

    @precondition(_has_room)
    @rule(number=SOME, allow_failure=YES_OR_NO, called=YES_OR_NO, job_type=TYPE)
    def submit_dependent(self, number: list[int], allow_failure: bool, called: bool, job_type: str) -> None:
        parents = [job for n in number if (job := self._job(n, *ALIVE, *ENDED))]
        options = SubmitOptions(
            depends_on=tuple(dict.fromkeys(job.id for job in parents)),
            allow_failure=allow_failure and bool(parents),
            callback_url=CALLBACK if called else None,
        )
        self.play.submit(job_type, options)

    @precondition(_has_room)
    @rule(key=st.sampled_from(("x", "y")))
    def submit_with_a_key(self, key: str) -> None:
        if key in self.model.keys:
            self.play.repeat(key)
        else:
            self.play.submit("plain", SubmitOptions(), key=key)

    @precondition(_has_room)
    @rule(sizes=st.integers(1, 3), job_type=TYPE, called=YES_OR_NO, parent=NUMBER, with_last=YES_OR_NO)
    def submit_batch(self, sizes: int, job_type: str, called: bool, parent: int, with_last: bool) -> None:
        items: list[dict[str, object]] = [{"task_type": "plain"} for _ in range(sizes)]
        items[0]["task_type"] = job_type if job_type != "patient" else "plain"
        if called:
            items[-1] |= {"callback_url": CALLBACK, "attempts": 2}
        if job := self._job(parent, *ALIVE):
            items[0]["depends_on"] = [job.id]
        self.play.submit_batch(items, with_last)

    # Operators

    @precondition(some(*ALIVE))
    @rule(number=NUMBER)
    def cancel(self, number: int) -> None:
        if job := self._job(number, *ALIVE, *ENDED):
            self.play.cancel(job)

    @precondition(some("failed", "stopped", "canceled"))
    @rule(number=NUMBER)
    def requeue(self, number: int) -> None:
        if job := self._job(number, "failed", "stopped", "canceled"):
            self.play.requeue(job)

    @precondition(some(*ALIVE, *ENDED))
    @rule(number=NUMBER)
    def delete(self, number: int) -> None:
        if job := self._job(number, *ALIVE, *ENDED):
            self.play.delete(job)

    @rule(queue=QUEUE)
    def pause_or_resume(self, queue: str) -> None:
        self.play.pause(queue)

    @rule()
    def suspend_or_resume(self) -> None:
        self.play.suspend()

    # RQ's own code

    @precondition(_has_room)
    @rule(queue=QUEUE, retries=st.integers(0, 1), parent=NUMBER, depends=YES_OR_NO, allow_failure=YES_OR_NO)
    def rq_enqueue(self, queue: str, retries: int, parent: int, depends: bool, allow_failure: bool) -> None:
        self.play.rq_enqueue(queue, retries, self._job(parent, *ALIVE) if depends else None, allow_failure)

    @precondition(some(*ALIVE))
    @rule(number=NUMBER)
    def rq_cancel(self, number: int) -> None:
        if job := self._job(number, *ALIVE):
            self.play.rq_cancel(job)

    @precondition(some("failed", "stopped"))
    @rule(number=NUMBER)
    def rq_requeue(self, number: int) -> None:
        if job := self._job(number, "failed", "stopped"):
            self.play.rq_requeue(job)

    @precondition(some(*ALIVE, *ENDED))
    @rule(number=NUMBER)
    def rq_delete(self, number: int) -> None:
        if job := self._job(number, *ALIVE, *ENDED):
            self.play.rq_delete(job)

    @rule()
    def rq_clean(self) -> None:
        self.play.rq_clean()

    @precondition(lambda self: bool(self.model.jobs))
    @rule()
    def rq_fetch_all(self) -> None:
        self.play.rq_fetch_all()

    # Time

    @precondition(some("scheduled"))
    @rule(number=NUMBER)
    def make_due(self, number: int) -> None:
        if job := self._job(number, "scheduled"):
            self.play.make_due(job)

    @precondition(some("waiting", "scheduled", "deferred"))
    @rule(number=NUMBER)
    def expire(self, number: int) -> None:
        if job := self._job(number, "waiting", "scheduled", "deferred"):
            self.play.expire(job)

    @precondition(some(*ENDED))
    @rule(number=NUMBER)
    def forget(self, number: int) -> None:
        if job := self._job(number, *ENDED):
            self.play.forget(job)

    @rule()
    def pass_hour(self) -> None:
        self.play.pass_hour()

    @precondition(some("started"))
    @rule(number=NUMBER)
    def run_out(self, number: int) -> None:
        if job := self._job(number, "started"):
            self.play.run_out(job)

    # Workers

    @precondition(some("waiting"))
    @rule(number=NUMBER, claims=st.integers(1, 3), loses=LOSS, losing_call=st.integers(0, 2))
    def claim(self, number: int, claims: int, loses: str | None, losing_call: int) -> None:
        worker = self._worker(number)
        if not worker.call:
            self.play.exchange(worker, [], claims, loses, losing_call)

    @precondition(_has_runs)
    @rule(number=NUMBER, ends=st.lists(END, min_size=1, max_size=3), claims=st.integers(0, 3), loses=LOSS,
          losing_call=st.integers(0, 2))  # fmt: skip
    def settle_and_claim(
        self, number: int, ends: list, claims: int, loses: str | None, losing_call: int
    ) -> None:
        worker = self._worker(number, [worker for worker in self.play.workers if worker.runs and not worker.call])
        if worker:
            self.play.exchange(worker, [*zip(worker.runs, ends, strict=False)], claims, loses, losing_call)

    @precondition(_waits_for_an_answer)
    @rule(number=NUMBER, loses=LOSS)
    def send_again(self, number: int, loses: str | None) -> None:
        if worker := self._worker(number, [worker for worker in self.play.workers if worker.call]):
            self.play.send_again(worker, loses)

    @precondition(lambda self: any(worker.latest for worker in self.play.workers))
    @rule(number=NUMBER)
    def deliver_again(self, number: int) -> None:
        worker = self._worker(number)
        if worker.latest:
            self.play.deliver_again(worker)

    @rule(number=NUMBER)
    def heartbeat(self, number: int) -> None:
        self.play.heartbeat(self._worker(number))

    @precondition(lambda self: any(worker.runs or worker.call for worker in self.play.workers))
    @rule(number=NUMBER, some=SOME, with_call=YES_OR_NO,
          how=st.sampled_from((How.HORSE_DIED, How.TIMED_OUT, How.RETURNED)))  # fmt: skip
    def end_horses(self, number: int, some: list[int], with_call: bool, how: How) -> None:
        worker = self._worker(number)
        runs = [run for index, run in enumerate(worker.runs) if index in some]
        self.play.end_horses(worker, runs, with_call, how)

    @precondition(lambda self: any(worker.to_stop for worker in self.play.workers))
    @rule(number=NUMBER)
    def stop_canceled(self, number: int) -> None:
        worker = self._worker(number)
        runs = [run for run in worker.runs if run.execution in worker.to_stop]
        self.play.end_horses(worker, runs, False, How.STOPPED)

    @rule(number=NUMBER)
    def kill(self, number: int) -> None:
        self.play.kill(self._worker(number))

    @precondition(lambda self: any(ends <= self.play.world.now for ends in self.play.world.leases.values()))
    @rule(number=NUMBER)
    def find_lost_jobs(self, number: int) -> None:
        self.play.find_lost_jobs(self._worker(number))

    # Chores

    @rule()
    def finish_batches(self) -> None:
        self.play.finish_batches()

    @rule()
    def release_limits(self) -> None:
        self.play.release_limits()

    @rule()
    def queue_missed_callbacks(self) -> None:
        self.play.queue_missed_callbacks()

    @precondition(_has_room)
    @rule()
    def fire_schedule(self) -> None:
        self.play.fire_schedule()

    @rule()
    def rest(self) -> None:
        self.play.rest()

