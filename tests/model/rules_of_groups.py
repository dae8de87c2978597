"""Rules for groups of short jobs, and for claims that wait in Redis."""

import hypothesis.strategies as st
from hypothesis.stateful import precondition, rule

from taskqueue.enqueue.options import SubmitOptions
from taskqueue.worker.decision import How
from tests.model.machine import (
    DEATH,
    END,
    LOSS,
    NUMBER,
    SELDOM_LOST,
    QueueMachine,
    has_group,
    has_room,
    is_armed,
    some_worker,
    there_are,
    waits_not,
)
from tests.model.model import End
from tests.model.processes import Loss


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
        self.play.claim_group(self.worker(number, waits_not), loses)

    @precondition(there_are("waiting"))
    @precondition(some_worker(waits_not))
    @rule(number=NUMBER, loses=SELDOM_LOST)
    def claim_group(self, number: int, loses: Loss | None) -> None:
        self.play.claim_group(self.worker(number, waits_not), loses)

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
            self.play.claim_group(claims[0])

    @precondition(lambda self: not any(worker.call for worker in self.play.workers))
    @rule(number=NUMBER)
    def arm(self, number: int) -> None:
        self.play.arm(self.worker(number, waits_not))

    @precondition(some_worker(is_armed))
    @rule(number=NUMBER, loses=SELDOM_LOST)
    def wake(self, number: int, loses: Loss | None) -> None:
        self.play.send_again(self.worker(number, is_armed), loses)
