"""The rules of the model's test: Hypothesis chooses which action comes next, and its arguments.

Each class is a group of rules, and machines.py says which groups are played together.
"""

import hypothesis.strategies as st
from hypothesis.stateful import precondition, rule

from taskqueue.enqueue.options import SubmitOptions
from taskqueue.worker.decision import How
from tests.model.driver import RETRY_SECONDS
from tests.model.machine import (
    ALIVE,
    CALLBACK,
    DEATH,
    END,
    ENDED,
    LOSS,
    MOSTLY,
    NUMBER,
    PLAIN,
    QUEUE,
    SELDOM,
    SOME,
    YES_OR_NO,
    QueueMachine,
    has_room,
    has_runs_to_settle,
    some_worker,
    there_are,
    waits,
    waits_not,
)
from tests.model.model import End
from tests.model.processes import Loss


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

    @precondition(some_worker(lambda worker: worker.process.latest))
    @rule(number=NUMBER)
    def deliver_again(self, number: int) -> None:
        self.play.deliver_again(self.worker(number, lambda worker: worker.process.latest))


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
