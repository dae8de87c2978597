"""What all rules of the model's test share: the machine that plays them, and what Hypothesis chooses from."""

import sys
from collections.abc import Callable

import hypothesis.strategies as st
from hypothesis import note
from hypothesis.stateful import RuleBasedStateMachine, invariant

from taskqueue.worker.decision import How
from tests.model.driver import QUEUES, Engine
from tests.model.model import Job
from tests.model.play import Play
from tests.model.played import PlayedWorker

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

    WITH_IO: tuple[bool, ...] = (False, False)  # of each worker, whether it has an I/O process

    def __init__(self, engine: Engine) -> None:
        super().__init__()
        self.play = Play(engine, self.WITH_IO)
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
