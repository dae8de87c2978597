"""Groups of short jobs, and the work-horses that claim and run them."""

from taskqueue.telemetry.counters import Tally
from taskqueue.worker.horse_channel import Phase, State
from taskqueue.worker.horse_process import HorseProcess
from taskqueue.worker.settle_and_claim import Outcome
from tests.model.driver import MOST_IN_GROUP, SHORT
from tests.model.model import End
from tests.model.processes import Call, Claimed, Process


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


class Horses(Process):
    """The work-horses of a worker."""

    def call_in_group(
        self, outcomes: list[tuple[Claimed, End]], claims: int, group: Group | None = None
    ) -> Call:  # fmt: skip
        """Prepare an exchange: settle these runs, and claim one job, or a group of short ones.

        `group`: the group of which it settles the jobs.
        """
        short = "".join(f",{name}:{cost}" for name, cost in SHORT.items()) + ","
        if group:
            outcomes = [*((run, "finished") for run in group.ended), *outcomes]
        claim = self.next_claim() if claims else ""
        return Call(self, outcomes, claim, MOST_IN_GROUP, short=short, group=group)
