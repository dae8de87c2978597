"""Rules for an I/O process beside the work-horses of its worker."""

from collections.abc import Callable

import hypothesis.strategies as st
from hypothesis.stateful import precondition, rule

from taskqueue.enqueue.options import SubmitOptions
from taskqueue.worker.decision import Ending, How
from taskqueue.worker.horse_process import OVERDUE, RETURNED
from tests.model.driver import IO_TYPES
from tests.model.io_process import SLOTS
from tests.model.machine import (
    LOSS,
    MOSTLY,
    NUMBER,
    QUEUE,
    SELDOM_LOST,
    SOME,
    QueueMachine,
    has_room,
    some_worker,
    waits_not,
)
from tests.model.model import End
from tests.model.played import PlayedProcess, PlayedWorker
from tests.model.processes import Claimed, Loss

IO_TYPE = st.sampled_from(IO_TYPES)
ENDS = st.lists(
    st.sampled_from(("finished", "alone", How.RAISED, How.TIMED_OUT, How.STOPPED, "postponed")), max_size=4
)
ENDING = st.sampled_from((None, None, RETURNED, OVERDUE))


def io_waits(worker: PlayedWorker) -> object:
    return worker.io and worker.io.call


def io_is_armed(worker: PlayedWorker) -> object:
    return worker.io and worker.io.call and worker.io.call.is_armed


def io_is_free(worker: PlayedWorker) -> object:
    return worker.io and not worker.io.call


def io_runs(worker: PlayedWorker) -> object:
    return worker.io and not worker.io.call and worker.io.runs


def io_has_called(worker: PlayedWorker) -> object:
    return worker.io and worker.io.process.latest


def has_io(worker: PlayedWorker) -> object:
    return worker.io


def stops_in_io(worker: PlayedWorker) -> object:
    return worker.io and not worker.io.call and any(run.execution in worker.to_stop for run in worker.io.runs)


class IO(QueueMachine):
    """Jobs that wait for others: one process of a worker runs many of them at once."""

    WITH_IO = (True, False)

    def io(self, number: int, fits: Callable[[PlayedWorker], object] = has_io) -> PlayedProcess:
        """Return the I/O process of one of the workers that fit; there is one."""
        process = self.worker(number, fits).io
        assert process
        return process

    def claim_some(
        self, io: PlayedProcess, claims: int, ends: list[End], loses: Loss | None, losing_call: int = 0
    ) -> None:
        """Let an I/O process settle runs, and claim as many jobs as it has room for."""
        settled = [*zip(io.runs, ends, strict=False)]
        claims = min(claims, SLOTS - len(io.runs))
        self.play.exchange(io, settled, claims, loses, losing_call)

    @precondition(has_room)
    @rule(job_type=IO_TYPE, queue=QUEUE, attempts=st.integers(1, 2), count=st.integers(1, 3))
    def submit_io(self, job_type: str, queue: str, attempts: int, count: int) -> None:
        for _ in range(count):
            self.play.submit(job_type, SubmitOptions(queue=queue, attempts=attempts))

    @precondition(has_room)
    @rule(types=st.lists(st.sampled_from(("plain", *IO_TYPES)), min_size=2, max_size=4))
    def submit_of_both_kinds(self, types: list[str]) -> None:
        for job_type in types:
            self.play.submit(job_type, SubmitOptions(attempts=2))

    @precondition(has_room)
    @rule(queue=QUEUE)
    def rq_enqueue_io(self, queue: str) -> None:
        self.play.rq_enqueue(queue, 1, job_type="mail")

    @precondition(some_worker(io_is_free))
    @rule(number=NUMBER, claims=st.integers(1, 4), loses=SELDOM_LOST)
    def claim_io(self, number: int, claims: int, loses: Loss | None) -> None:
        self.claim_some(self.io(number, io_is_free), claims, [], loses)

    @precondition(some_worker(io_runs))
    @rule(number=NUMBER, claims=st.integers(0, 4), ends=ENDS, loses=SELDOM_LOST, losing_call=st.integers(0, 1))
    def settle_and_claim_io(
        self, number: int, claims: int, ends: list[End], loses: Loss | None, losing_call: int
    ) -> None:
        self.claim_some(self.io(number, io_is_free), claims, ends, loses, losing_call)

    @precondition(some_worker(io_waits))
    @rule(number=NUMBER, loses=SELDOM_LOST)
    def send_io_again(self, number: int, loses: Loss | None) -> None:
        self.play.send_again(self.io(number, io_waits), loses)

    @precondition(some_worker(io_has_called))
    @rule(number=NUMBER)
    def deliver_io_again(self, number: int) -> None:
        self.play.deliver_again(self.io(number, io_has_called))

    @precondition(lambda self: not any(process.call for process in self.play.processes))
    @rule(number=NUMBER)
    def arm_io(self, number: int) -> None:
        self.play.arm(self.io(number))

    @precondition(some_worker(io_is_armed))
    @rule(number=NUMBER, ends=ENDS)
    def settle_beside_armed_claim(self, number: int, ends: list[End]) -> None:
        io = self.io(number, io_is_armed)
        self.play.settle_beside_armed_claim(io, [*zip(io.runs, ends, strict=False)])

    @precondition(lambda self: any(process.call and process.call.is_armed for process in self.play.processes))
    @precondition(lambda self: all(not process.call or process.call.is_armed for process in self.play.processes))
    @precondition(has_room)
    @rule(number=NUMBER, job_type=st.sampled_from(("plain", *IO_TYPES)), is_woken=MOSTLY)
    def arm_both_kinds_and_submit(self, number: int, job_type: str, is_woken: bool) -> None:
        for process in self.worker(number, has_io).processes:
            if not process.call:
                self.play.arm(process)
        self.play.submit(job_type, SubmitOptions(attempts=2))
        for process in self.worker(number, has_io).processes:
            if is_woken and process.call:
                self.play.send_again(process)

    @precondition(some_worker(has_io))
    @rule(number=NUMBER, ending=ENDING, overdue=SOME)
    def end_io(self, number: int, ending: Ending | None, overdue: list[int]) -> None:
        worker = self.worker(number, has_io)
        runs = [run for index, run in enumerate(self.io(number).runs) if index in overdue]
        self.play.end_io(worker, ending, runs if ending is OVERDUE else [])

    @precondition(has_room)
    @precondition(some_worker(io_is_free))
    @rule(number=NUMBER, count=st.integers(1, 3), ends=ENDS, loses=SELDOM_LOST, ending=ENDING)
    def end_io_with_many(
        self, number: int, count: int, ends: list[End], loses: Loss | None, ending: Ending | None
    ) -> None:
        for _ in range(count):
            self.play.submit("mail", SubmitOptions(attempts=2))
        worker = self.worker(number, io_is_free)
        self.claim_some(self.io(number, io_is_free), count + 1, [], None)
        if ends:
            self.claim_some(self.io(number, io_is_free), 2, ends[:2], loses)
        self.play.heartbeat(worker)
        runs = self.io(number).runs
        self.play.end_io(worker, ending, runs[:1] if ending is OVERDUE else [])
        if waits_not(worker):
            self.play.exchange(worker, [], 2)

    @precondition(some_worker(stops_in_io))
    @rule(number=NUMBER, claims=st.integers(0, 2))
    def stop_canceled_io(self, number: int, claims: int) -> None:
        worker = self.worker(number, stops_in_io)
        io = self.io(number, stops_in_io)
        ends: list[tuple[Claimed, End]] = [
            (run, How.STOPPED) for run in io.runs if run.execution in worker.to_stop
        ]
        self.play.exchange(io, ends, claims)

    @precondition(some_worker(io_waits))
    @rule(number=NUMBER)
    def heartbeat_beside_a_lost_answer(self, number: int) -> None:
        self.play.heartbeat(self.worker(number, io_waits))

    @precondition(some_worker(has_io))
    @rule(number=NUMBER, loses=LOSS)
    def send_again_in_vain_io(self, number: int, loses: Loss) -> None:
        io = self.io(number)
        if io.call:
            self.play.send_again(io, loses)
