"""The rules of the model's test: Hypothesis chooses which action comes next, and its arguments.

Each class is a group of rules, and `MACHINES` has the groups that are played together: fewer rules at a time meet
rarer combinations.
"""

import sys
from collections.abc import Callable

import hypothesis.strategies as st
from hypothesis import note
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from taskqueue.enqueue.options import SubmitOptions
from taskqueue.worker.decision import How
from tests.model.driver import LIMITED, QUEUES, RETRY_SECONDS, Engine, Loss
from tests.model.model import End, Job
from tests.model.play import Play, PlayedWorker

ALIVE = ("waiting", "scheduled", "deferred", "started")
ENDED = ("finished", "failed", "stopped", "canceled")
MANY = 24  # jobs in one example: more of them only make it harder to read
CALLBACK = "https://example.com/called"

NUMBER = st.integers(0, 7)  # chooses one of the jobs, or workers, that an action fits
SOME = st.lists(NUMBER, max_size=2, unique=True)
YES_OR_NO = st.booleans()
SELDOM = st.sampled_from((False, False, True))
MOSTLY = st.sampled_from((True, True, False))
PLAIN = st.sampled_from(("plain", "patient"))
QUEUE = st.sampled_from(QUEUES)
LOSS = st.sampled_from(("answer", "request"))
SELDOM_LOST = st.sampled_from((None, None, None, "answer", "request"))
END = st.sampled_from(("finished", How.RAISED, How.RAISED_PERMANENT, How.TIMED_OUT, "postponed"))
DEATH = st.sampled_from((How.HORSE_DIED, How.TIMED_OUT, How.RETURNED))


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

    def job(self, number: int, *statuses: str) -> Job:
        """Return one of the jobs in these statuses; there is one."""
        jobs = self.jobs(*statuses)
        job = jobs[number % len(jobs)]
        note(f"# {job.name} ({job.type}, {job.status})")
        return job

    def jobs(self, *statuses: str) -> list[Job]:
        """Return the jobs in these statuses."""
        return [job for job in self.model.jobs.values() if job.status in statuses]

    def worker(self, number: int, fits: Callable[[PlayedWorker], object] = lambda worker: True) -> PlayedWorker:
        """Return one of the workers that fit; there is one."""
        workers = [worker for worker in self.play.workers if fits(worker)]
        return workers[number % len(workers)]


def there_are(*statuses: str) -> Callable[[QueueMachine], bool]:
    """Return a condition: there is a job in one of these statuses."""
    return lambda machine: bool(machine.jobs(*statuses))


def some_worker(fits: Callable[[PlayedWorker], object]) -> Callable[[QueueMachine], bool]:
    """Return a condition: there is a worker that fits."""
    return lambda machine: any(fits(worker) for worker in machine.play.workers)


def has_room(machine: QueueMachine) -> bool:
    return len(machine.model.jobs) < MANY


def waits(worker: PlayedWorker) -> object:
    return worker.call


def waits_not(worker: PlayedWorker) -> object:
    return not worker.call


def has_runs_to_settle(worker: PlayedWorker) -> object:
    return worker.runs and not worker.call


def has_group(worker: PlayedWorker) -> object:
    return worker.groups and not worker.call


def is_armed(worker: PlayedWorker) -> object:
    return worker.call and worker.call.is_armed


class Work(QueueMachine):
    """Plain tasks, and workers that run them."""

    @precondition(has_room)
    @rule(job_type=PLAIN, queue=QUEUE, attempts=st.integers(1, 3), front=YES_OR_NO)
    def submit(self, job_type: str, queue: str, attempts: int, front: bool) -> None:
        priority = "front" if front else None
        self.play.submit(job_type, SubmitOptions(queue=queue, attempts=attempts, priority=priority))

    @precondition(there_are("waiting"))
    @precondition(some_worker(waits_not))
    @rule(number=NUMBER, claims=st.integers(1, 3))
    def claim(self, number: int, claims: int) -> None:
        self.play.exchange(self.worker(number, waits_not), [], claims)

    @precondition(some_worker(has_runs_to_settle))
    @rule(number=NUMBER, ends=st.lists(END, min_size=1, max_size=3), claims=st.integers(0, 3))
    def settle_and_claim(self, number: int, ends: list[End], claims: int) -> None:
        worker = self.worker(number, has_runs_to_settle)
        self.play.exchange(worker, [*zip(worker.runs, ends, strict=False)], claims)

    @precondition(some_worker(has_runs_to_settle))
    @rule(number=NUMBER)
    def fail_all(self, number: int) -> None:
        worker = self.worker(number, has_runs_to_settle)
        self.play.exchange(worker, [(run, How.RAISED) for run in worker.runs], 3)

    @precondition(there_are("scheduled"))
    @rule(number=NUMBER)
    def make_due(self, number: int) -> None:
        self.play.make_due(self.job(number, "scheduled"))

    @rule(number=NUMBER)
    def heartbeat(self, number: int) -> None:
        self.play.heartbeat(self.worker(number))

    @rule()
    def rest(self) -> None:
        self.play.rest()


class Deaths(QueueMachine):
    """Horses and workers that die, and leases that run out."""

    @precondition(some_worker(lambda worker: worker.runs or worker.call))
    @rule(number=NUMBER, some=SOME, with_call=YES_OR_NO, how=DEATH)
    def end_horses(self, number: int, some: list[int], with_call: bool, how: How) -> None:
        worker = self.worker(number, lambda worker: worker.runs or worker.call)
        runs = [run for index, run in enumerate(worker.runs) if index in some]
        self.play.end_horses(worker, runs, with_call, how)

    @precondition(there_are("started"))
    @rule(number=NUMBER)
    def kill(self, number: int) -> None:
        self.play.kill(self.worker(number))

    @precondition(there_are("started"))
    @rule(number=NUMBER)
    def run_out(self, number: int) -> None:
        self.play.run_out(self.job(number, "started"))

    @precondition(lambda self: any(ends <= self.play.world.now for ends in self.play.world.leases.values()))
    @rule(number=NUMBER)
    def find_lost_jobs(self, number: int) -> None:
        self.play.find_lost_jobs(self.worker(number))


class Losses(QueueMachine):
    """Requests and answers that are lost, sent again, or delivered twice."""

    @precondition(has_room)
    @rule(job_type=PLAIN, times=st.integers(2, 3))
    def submit_more_than_once(self, job_type: str, times: int) -> None:
        self.play.submit(job_type, SubmitOptions(attempts=2), times=times)

    @precondition(there_are("waiting"))
    @precondition(some_worker(waits_not))
    @rule(number=NUMBER, claims=st.integers(1, 2), loses=LOSS, losing_call=st.integers(0, 1))
    def claim_in_vain(self, number: int, claims: int, loses: Loss, losing_call: int) -> None:
        self.play.exchange(self.worker(number, waits_not), [], claims, loses, losing_call)

    @precondition(some_worker(has_runs_to_settle))
    @rule(number=NUMBER, ends=st.lists(END, min_size=1, max_size=2), claims=st.integers(0, 2), loses=LOSS,
          losing_call=st.integers(0, 1))  # fmt: skip
    def settle_in_vain(self, number: int, ends: list[End], claims: int, loses: Loss, losing_call: int) -> None:
        worker = self.worker(number, has_runs_to_settle)
        self.play.exchange(worker, [*zip(worker.runs, ends, strict=False)], claims, loses, losing_call)

    @precondition(some_worker(waits))
    @rule(number=NUMBER)
    def send_again(self, number: int) -> None:
        self.play.send_again(self.worker(number, waits))

    @precondition(some_worker(waits))
    @rule(number=NUMBER, loses=LOSS)
    def send_again_in_vain(self, number: int, loses: Loss) -> None:
        self.play.send_again(self.worker(number, waits), loses)

    @precondition(some_worker(lambda worker: worker.worker.latest))
    @rule(number=NUMBER)
    def deliver_again(self, number: int) -> None:
        self.play.deliver_again(self.worker(number, lambda worker: worker.worker.latest))


class Claims(QueueMachine):
    """Groups of short jobs, and claims that wait in Redis."""

    @precondition(has_room)
    @precondition(some_worker(waits_not))
    @rule(number=NUMBER, count=st.integers(2, 5), limited=st.integers(0, 4), at_last=st.integers(0, 8),
          loses=SELDOM_LOST)  # fmt: skip
    def make_group(self, number: int, count: int, limited: int, at_last: int, loses: Loss | None) -> None:
        for place in range(count):
            options = SubmitOptions(attempts=1 if place == at_last else 2)
            self.play.submit("pair" if place == limited else "plain", options)
        self.play.exchange(self.worker(number, waits_not), [], 1, loses, in_group=True)

    @precondition(there_are("waiting"))
    @precondition(some_worker(waits_not))
    @rule(number=NUMBER, loses=SELDOM_LOST)
    def claim_group(self, number: int, loses: Loss | None) -> None:
        self.play.exchange(self.worker(number, waits_not), [], 1, loses, in_group=True)

    @precondition(some_worker(has_group))
    @rule(number=NUMBER, ends=st.lists(END, min_size=1, max_size=3), claims=st.integers(0, 1))
    def go_on(self, number: int, ends: list[End], claims: int) -> None:
        worker = self.worker(number, has_group)
        group = worker.groups[0]
        for end in ends:
            if group in worker.groups:
                self.play.go_on(worker, group, end, claims)

    @precondition(some_worker(has_group))
    @rule(number=NUMBER, end=END, claims=st.integers(0, 1), loses=LOSS)
    def go_on_in_vain(self, number: int, end: End, claims: int, loses: Loss) -> None:
        worker = self.worker(number, has_group)
        self.play.go_on(worker, worker.groups[0], end, claims, loses)

    @precondition(some_worker(has_group))
    @rule(number=NUMBER, finished=st.integers(0, 2))
    def end_early(self, number: int, finished: int) -> None:
        worker = self.worker(number, has_group)
        group = worker.groups[0]
        for _ in range(min(finished, len(group.to_begin))):
            self.play.go_on(worker, group, "finished", 0)
        self.play.end_early(worker, group)

    @precondition(some_worker(has_group))
    @rule(number=NUMBER, finished=st.integers(0, 2), how=DEATH)
    def end_horse_in_group(self, number: int, finished: int, how: How) -> None:
        worker = self.worker(number, has_group)
        group = worker.groups[0]
        for _ in range(min(finished, len(group.to_begin))):
            self.play.go_on(worker, group, "finished", 0)
        self.play.end_horses(worker, [], False, how, [group])

    @precondition(some_worker(has_group))
    @rule(number=NUMBER)
    def lose_group(self, number: int) -> None:
        worker = self.worker(number, has_group)
        jobs = [self.model.jobs[run.job_id] for run in worker.groups[0].runs]
        self.play.kill(worker)
        for job in [job for job in jobs if job.status == "started"]:
            self.play.run_out(job)
        self.play.find_lost_jobs(self.worker(number))
        if claims := [worker for worker in self.play.workers if not worker.call]:
            self.play.exchange(claims[0], [], 1, in_group=True)

    @precondition(lambda self: not any(worker.call for worker in self.play.workers))
    @rule(number=NUMBER)
    def arm(self, number: int) -> None:
        self.play.arm(self.worker(number, waits_not))

    @precondition(some_worker(is_armed))
    @rule(number=NUMBER, loses=SELDOM_LOST)
    def wake(self, number: int, loses: Loss | None) -> None:
        self.play.send_again(self.worker(number, is_armed), loses)


class Options(QueueMachine):
    """Tasks with options: delay, callback, expiry, dedupe and idempotency keys; schedules."""

    @precondition(has_room)
    @rule(delayed=SELDOM, called=MOSTLY, expires=YES_OR_NO, key=st.sampled_from("aa "))
    def submit_with_options(self, delayed: bool, called: bool, expires: bool, key: str) -> None:
        self.play.submit("plain", SubmitOptions(
            delay=RETRY_SECONDS if delayed else None,
            callback_url=CALLBACK if called else None,
            expires_in=100_000 if expires else None,
            dedupe=key.strip() or None,
            attempts=2,
        ))  # fmt: skip

    @precondition(has_room)
    @rule(key=st.sampled_from(("x", "y")))
    def submit_with_a_key(self, key: str) -> None:
        if key in self.model.keys:
            self.play.repeat(key)
        else:
            self.play.submit("plain", SubmitOptions(), key=key)

    @precondition(there_are("waiting", "scheduled", "deferred"))
    @rule(number=NUMBER)
    def expire(self, number: int) -> None:
        self.play.expire(self.job(number, "waiting", "scheduled", "deferred"))

    @precondition(has_room)
    @rule()
    def fire_schedule(self) -> None:
        self.play.fire_schedule()

    @rule()
    def queue_missed_callbacks(self) -> None:
        self.play.queue_missed_callbacks()


class Dependents(QueueMachine):
    """Tasks that wait for others, and batches."""

    @precondition(has_room)
    @precondition(there_are(*ALIVE, *ENDED))
    @rule(numbers=st.lists(NUMBER, min_size=1, max_size=2), allow_failure=YES_OR_NO, called=MOSTLY)
    def submit_dependent(self, numbers: list[int], allow_failure: bool, called: bool) -> None:
        parents = [self.job(number, *ALIVE, *ENDED).id for number in numbers]
        self.play.submit("plain", SubmitOptions(
            depends_on=tuple(dict.fromkeys(parents)),
            allow_failure=allow_failure,
            callback_url=CALLBACK if called else None,
        ))  # fmt: skip

    @precondition(has_room)
    @rule(allow_failure=YES_OR_NO)
    def submit_parent_and_dependent(self, allow_failure: bool) -> None:
        self.play.submit("plain", SubmitOptions(callback_url=CALLBACK, attempts=1))
        parent = [*self.model.jobs.values()][-1].id
        self.play.submit("single", SubmitOptions(depends_on=(parent,), allow_failure=allow_failure))

    @precondition(has_room)
    @rule(size=st.integers(1, 3), called=MOSTLY, parent=NUMBER, with_last=YES_OR_NO)
    def submit_batch(self, size: int, called: bool, parent: int, with_last: bool) -> None:
        items: list[dict[str, object]] = [{"task_type": "plain"} for _ in range(size)]
        items[0]["task_type"] = "single"
        if called:
            items[-1] |= {"callback_url": CALLBACK, "attempts": 2}
        if self.jobs(*ALIVE):
            items[0]["depends_on"] = [self.job(parent, *ALIVE).id]
        self.play.submit_batch(items, with_last)

    @rule()
    def finish_batches(self) -> None:
        self.play.finish_batches()


class LimitedTasks(QueueMachine):
    """Tasks of types that have limits."""

    @precondition(has_room)
    @rule(job_type=st.sampled_from(tuple(LIMITED)), attempts=st.integers(1, 2), count=st.integers(1, 3))
    def submit_limited(self, job_type: str, attempts: int, count: int) -> None:
        for _ in range(count):
            self.play.submit(job_type, SubmitOptions(attempts=attempts))

    @precondition(lambda self: any("held" in places for places in self.play.world.places.values()))
    @rule(number=NUMBER, is_deleted=YES_OR_NO)
    def cancel_held(self, number: int, is_deleted: bool) -> None:
        held = [job for job in self.jobs("waiting") if "held" in self.play.world.places[job.id]]
        if held:
            (self.play.delete if is_deleted else self.play.cancel)(held[number % len(held)])

    @precondition(lambda self: any(job.type in LIMITED for job in self.jobs("started")))
    @rule(number=NUMBER)
    def delete_after_its_lease(self, number: int) -> None:
        jobs = [job for job in self.jobs("started") if job.type in LIMITED]
        self.play.run_out(jobs[number % len(jobs)])
        self.play.delete(jobs[number % len(jobs)])

    @rule()
    def release_limits(self) -> None:
        self.play.release_limits()

    @rule()
    def pass_hour(self) -> None:
        self.play.pass_hour()


class Operators(QueueMachine):
    """What people do with tasks and queues."""

    @precondition(there_are(*ALIVE))
    @rule(number=NUMBER)
    def cancel(self, number: int) -> None:
        self.play.cancel(self.job(number, *ALIVE))

    @precondition(there_are("started"))
    @rule(number=NUMBER)
    def cancel_running(self, number: int) -> None:
        called = [job for job in self.jobs("started") if job.has_callback]  # they are few
        self.play.cancel(called[0] if called else self.job(number, "started"))

    @precondition(some_worker(lambda worker: worker.to_stop))
    @rule(number=NUMBER)
    def stop_canceled(self, number: int) -> None:
        worker = self.worker(number, lambda worker: worker.to_stop)
        runs = [run for run in worker.runs if run.execution in worker.to_stop]
        groups = [group for group in worker.idle_groups if group.running.execution in worker.to_stop]
        self.play.end_horses(worker, runs, False, How.STOPPED, groups)

    @precondition(there_are("failed", "stopped"))
    @rule(number=NUMBER)
    def requeue(self, number: int) -> None:
        self.play.requeue(self.job(number, "failed", "stopped"))

    @precondition(there_are("canceled"))
    @rule(number=NUMBER)
    def requeue_canceled(self, number: int) -> None:
        self.play.requeue(self.job(number, "canceled"))

    @precondition(there_are("finished"))
    @rule(number=NUMBER)
    def be_refused(self, number: int) -> None:
        self.play.cancel(self.job(number, "finished"))
        self.play.requeue(self.job(number, "finished"))

    @precondition(there_are(*ALIVE, *ENDED))
    @rule(number=NUMBER)
    def delete(self, number: int) -> None:
        self.play.delete(self.job(number, *ALIVE, *ENDED))


class Pauses(QueueMachine):
    """Queues that are paused, RQ's `rq suspend`, and time that passes."""

    @precondition(there_are(*ENDED))
    @rule(number=NUMBER)
    def forget(self, number: int) -> None:
        self.play.forget(self.job(number, *ENDED))

    @rule(queue=QUEUE)
    def pause_or_resume(self, queue: str) -> None:
        self.play.pause(queue)

    @rule()
    def suspend_or_resume(self) -> None:
        self.play.suspend()


class Types(QueueMachine):
    """Job types that are paused, and limits that are changed while their jobs run."""

    @rule(job_type=st.sampled_from(("plain", *LIMITED)))
    def pause_or_resume_type(self, job_type: str) -> None:
        self.play.pause_type(job_type)

    @rule(job_type=st.sampled_from(("plain", "single", "pair")), most=st.sampled_from((1, 2, 3, None)))
    def change_or_reset_limits(self, job_type: str, most: int | None) -> None:
        self.play.change_limits(job_type, most)

    @rule()
    def start_worker_code(self) -> None:
        self.play.start_worker_code()


class RQTools(QueueMachine):
    """RQ's own code on the same data."""

    @precondition(has_room)
    @rule(queue=QUEUE, retries=st.integers(0, 1), parent=NUMBER, depends=YES_OR_NO, allow_failure=YES_OR_NO)
    def rq_enqueue(self, queue: str, retries: int, parent: int, depends: bool, allow_failure: bool) -> None:
        of = self.job(parent, *ALIVE) if depends and self.jobs(*ALIVE) else None
        self.play.rq_enqueue(queue, retries, of, allow_failure)

    @precondition(there_are(*ALIVE))
    @rule(number=NUMBER)
    def rq_cancel(self, number: int) -> None:
        self.play.rq_cancel(self.job(number, *ALIVE))

    @precondition(there_are("started"))
    @rule(number=NUMBER)
    def rq_cancel_running(self, number: int) -> None:
        parents = {parent for job in self.jobs("deferred") for parent in job.parents}
        waited_for = [job for job in self.jobs("started") if job.id in parents]  # they are few
        self.play.rq_cancel(waited_for[0] if waited_for else self.job(number, "started"))

    @precondition(there_are("failed", "stopped"))
    @rule(number=NUMBER)
    def rq_requeue(self, number: int) -> None:
        self.play.rq_requeue(self.job(number, "failed", "stopped"))

    @precondition(there_are(*ALIVE, *ENDED))
    @rule(number=NUMBER)
    def rq_delete(self, number: int) -> None:
        self.play.rq_delete(self.job(number, *ALIVE, *ENDED))

    @precondition(there_are("started"))
    @rule(number=NUMBER)
    def rq_find_lost_job(self, number: int) -> None:
        self.play.run_out(self.job(number, "started"))
        self.play.rq_clean()

    @precondition(there_are("started"))
    @rule(number=NUMBER)
    def rq_find_lost_job_that_was_canceled(self, number: int) -> None:
        again = [job for job in self.jobs("started") if job.retries_left]  # RQ puts it back
        job = again[number % len(again)] if again else self.job(number, "started")
        self.play.cancel(job)
        self.play.run_out(job)
        self.play.rq_clean()

    @rule()
    def rq_clean(self) -> None:
        self.play.rq_clean()

    @rule()
    def rq_fetch_all(self) -> None:
        self.play.rq_fetch_all()


class Everything(
    Work, Deaths, Losses, Claims, Options, Dependents, LimitedTasks, Operators, Pauses, Types, RQTools
):
    """All rules."""


class LostAnswers(Work, Deaths, Losses):
    """Workers that die and connections that break."""


class Claiming(Work, Claims, Deaths, Losses):
    """Groups of short jobs, and claims that wait in Redis, while something dies."""


class Waiting(Work, Dependents):
    """Tasks that wait for others."""


class Changing(Work, Options, Operators):
    """Tasks with options, and people who change their mind."""


class Pausing(Work, Options, Pauses):
    """Queues that are paused, and ended tasks that are forgotten."""


class Limiting(Work, Deaths, LimitedTasks, Operators):
    """Limits, and all ways in which a place is freed."""


class ChangingTypes(Work, Deaths, Claims, LimitedTasks, Types):
    """Job types that are paused and whose limits change, also while groups of their jobs run."""


class BesideRQ(Work, Deaths, Operators, RQTools):
    """RQ's own code, while workers die and people cancel."""


MACHINES = (Everything, LostAnswers, Claiming, Waiting, Changing, Pausing, Limiting, ChangingTypes, BesideRQ)
