"""Rules for the limits and the pauses of job types."""

import hypothesis.strategies as st
from hypothesis.stateful import precondition, rule

from taskqueue.enqueue.options import SubmitOptions
from taskqueue.worker.decision import How
from tests.model.driver import LIMITED
from tests.model.machine import NUMBER, YES_OR_NO, QueueMachine, has_room, some_worker, waits_not
from tests.model.model import Job
from tests.model.played import PlayedWorker

ANY_TYPE = st.sampled_from(("plain", *LIMITED))
CHANGED_TYPE = st.sampled_from(("plain", "single", "pair"))


def has_runs_of_limited_types(worker: PlayedWorker) -> object:
    return not worker.call and any(run.job.type_name in LIMITED for run in worker.runs)


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


class Types(QueueMachine):
    """Job types that are paused, and limits that are changed while their jobs run.

    Few pauses and changes meet jobs that they concern, so most of these rules are several actions in a row.
    """

    def submit_some(self, job_type: str, count: int) -> list[Job]:
        """Submit so many tasks, which may be in a group if their type may, and return those that wait."""
        for _ in range(count if has_room(self) else 0):
            self.play.submit(job_type, SubmitOptions(attempts=2))
        return [job for job in self.jobs("waiting") if job.type == job_type]

    def claim_all(self, number: int, *, in_group: bool = False) -> PlayedWorker:
        """Let a worker claim what it can."""
        worker = self.worker(number, waits_not)
        if in_group:
            self.play.claim_group(worker)
        else:
            self.play.exchange(worker, [], 4)
        return worker

    @rule(job_type=ANY_TYPE)
    def pause_or_resume_type(self, job_type: str) -> None:
        self.play.pause_type(job_type)

    @precondition(lambda self: self.model.paused_types)
    @rule(number=NUMBER)
    def resume_type(self, number: int) -> None:
        paused = sorted(self.model.paused_types)
        self.play.pause_type(paused[number % len(paused)])

    @rule(job_type=CHANGED_TYPE, most=st.sampled_from((1, 2, 3, None)))
    def change_or_reset_limits(self, job_type: str, most: int | None) -> None:
        self.play.change_limits(job_type, most)

    @precondition(lambda self: any(job.type == "plain" for job in self.jobs("started")))
    @precondition(lambda self: "plain" not in self.model.changed)
    @rule(most=st.integers(1, 3))
    def limit_what_runs(self, most: int) -> None:
        self.play.change_limits("plain", most)

    @rule()
    def start_worker_code(self) -> None:
        self.play.start_worker_code()

    @precondition(some_worker(waits_not))
    @rule(number=NUMBER, job_type=ANY_TYPE, count=st.integers(1, 3), in_group=YES_OR_NO)
    def claim_while_paused(self, number: int, job_type: str, count: int, in_group: bool) -> None:
        self.submit_some(job_type, count)
        if job_type not in self.model.paused_types:
            self.play.pause_type(job_type)
        self.claim_all(number, in_group=in_group)

    @precondition(some_worker(waits_not))
    @rule(number=NUMBER, job_type=CHANGED_TYPE, most=st.integers(1, 3), in_group=YES_OR_NO)
    def claim_while_changed(self, number: int, job_type: str, most: int, in_group: bool) -> None:
        self.submit_some(job_type, 3)
        if job_type not in self.model.changed:
            self.play.change_limits(job_type, most)
        worker = self.claim_all(number, in_group=in_group)
        if worker.runs:
            self.play.exchange(worker, [(worker.runs[-1], "finished")], 0)

    @precondition(some_worker(has_runs_of_limited_types))
    @rule(number=NUMBER)
    def claim_what_has_come_back_to_a_paused_type(self, number: int) -> None:
        worker = self.worker(number, has_runs_of_limited_types)
        run = next(run for run in worker.runs if run.job.type_name in LIMITED)
        if run.job.type_name not in self.model.paused_types:
            self.play.pause_type(run.job.type_name)
        self.play.end_horses(worker, [run], False, How.RETURNED)
        if some_worker(waits_not)(self):
            self.claim_all(number)

    @precondition(some_worker(waits_not))
    @rule(number=NUMBER, most=st.integers(1, 2))
    def lower_a_limit_behind_two_ends(self, number: int, most: int) -> None:
        self.submit_some("pair", 4)
        worker = self.claim_all(number)
        self.play.exchange(worker, [(run, "finished") for run in worker.runs if run.job.type_name == "pair"], 0)
        if "pair" not in self.model.changed:
            self.play.change_limits("pair", most)
        self.claim_all(number)
