"""The actions of an I/O process, beside the work-horses of its worker."""

from collections.abc import Sequence

from taskqueue.worker.decision import Ending, How
from taskqueue.worker.horse_process import OVERDUE, RETURNED
from tests.model.model import End
from tests.model.play_workers import PlayWorkers
from tests.model.played import PlayedProcess, PlayedWorker
from tests.model.processes import Claimed


class PlayIO(PlayWorkers):
    """What an I/O process does, and what happens to it."""

    def settle_beside_armed_claim(self, process: PlayedProcess, ends: Sequence[tuple[Claimed, End]]) -> None:
        """Let a process settle runs while its claim waits in Redis, which goes on."""
        armed = process.call
        self.exchange(process, ends, 0)
        process.call = armed
        self.look()

    def end_io(self, worker: PlayedWorker, ending: Ending | None, overdue: Sequence[Claimed] = ()) -> None:
        """Let an I/O process end with all that it runs: by itself, or killed by its worker for this.

        `overdue`: the runs whose time limit has passed.
        """
        io, process = worker.io, worker.worker.io
        assert io
        assert process
        process.let_time_pass(overdue)
        worker.worker.settle_after_io_process(io.call, ending)
        unsettled = [run for run, _ in io.call.outcomes] if io.call else []
        is_known = len(io.runs) == 1
        ends: list[tuple[Claimed, End]] = [(run, How.RETURNED) for run in unsettled]
        ends += [(run, _end_of(run, ending, overdue, is_known=is_known)) for run in io.runs]
        begun = []  # what is put back, in the order in which it began
        for run, end in sorted(ends, key=lambda each: each[0].began):
            if end in (How.RETURNED, "alone") and self.model.jobs[run.job_id].execution == run.execution:
                begun.append(run.job_id)
            self.model.abandon(run.job_id, run.execution, end)
        claims = {run.execution for run in unsettled + io.runs}
        # A claim whose answer has not come has not begun. A call that came twice claims two: a heartbeat puts the
        # other one back.
        not_begun = [
            job
            for job in self.model.of("started")
            if io.call and io.call.gave(job.execution) and job.execution not in claims
        ]
        not_begun.sort(key=lambda job: job.execution)
        for job in not_begun:
            self.model.abandon(job.id, job.execution, How.RETURNED)
        worker.io = PlayedProcess(worker.worker.io) if worker.worker.io else None
        self.look()
        self.check_order(begun + [job.id for job in not_begun])


def _end_of(run: Claimed, ending: Ending | None, overdue: Sequence[Claimed], *, is_known: bool) -> End:
    """Return how a run ends whose process has ended."""
    if ending is OVERDUE:
        return How.TIMED_OUT if run in overdue else How.RETURNED
    if ending is RETURNED:
        return How.RETURNED
    return How.HORSE_DIED if is_known else "alone"
