"""The engine and its model in step, and the workers that are played: what all actions share."""

from dataclasses import dataclass, field
from itertools import count

from tests.model import invariants
from tests.model.driver import Engine
from tests.model.groups import Group
from tests.model.model import CALLBACK_ATTEMPTS, Job, Model
from tests.model.processes import Call, Claimed, Process
from tests.model.worker import Worker
from tests.model.world import World


@dataclass
class PlayedProcess:
    """A process of a worker that runs jobs, and what it knows."""

    process: Process
    runs: list[Claimed] = field(default_factory=list)  # that go on
    call: Call | None = None  # whose answer has not come


@dataclass
class PlayedWorker(PlayedProcess):
    """One worker, and what its work-horses know."""

    worker: Worker = field(kw_only=True)
    io: PlayedProcess | None = None
    groups: list[Group] = field(default_factory=list)
    to_stop: set[str] = field(default_factory=set)  # executions that the latest heartbeat named

    @property
    def processes(self) -> list[PlayedProcess]:
        """Its work-horses, and its I/O process if it has one."""
        return [self, *([self.io] if self.io else [])]

    @property
    def all_runs(self) -> list[Claimed]:
        """What its processes run, and the jobs of its groups."""
        of_groups = [run for group in self.groups for run in group.runs]
        return [run for process in self.processes for run in process.runs] + of_groups

    @property
    def idle_groups(self) -> list[Group]:
        """The groups of which a job runs: the others wait for an answer."""
        return [group for group in self.groups if not self.call or self.call.group is not group]

    def end(self, group: Group) -> None:
        """Note that a group is over."""
        self.groups.remove(group)
        group.horse.channel.close()


class Played:
    """The engine and its model, in step. `with_io`: for each worker, whether it has an I/O process."""

    def __init__(self, engine: Engine, with_io: tuple[bool, ...]) -> None:
        engine.begin()
        self.engine, self.model = engine, Model()
        self._worker_numbers = count(1)
        self.workers = [self._new_worker(has_io) for has_io in with_io]
        self.world = World(engine.redis)

    def _new_worker(self, with_io: bool) -> PlayedWorker:
        worker = Worker(self.engine, f"worker-{next(self._worker_numbers)}", with_io=with_io)
        return PlayedWorker(worker.horses, worker=worker, io=PlayedProcess(worker.io) if worker.io else None)

    @property
    def processes(self) -> list[PlayedProcess]:
        """The processes of all workers that run jobs."""
        return [process for worker in self.workers for process in worker.processes]

    def close(self) -> None:
        """Close the workers' connections."""
        for worker in self.workers:
            self._close(worker)

    @staticmethod
    def _close(worker: PlayedWorker) -> None:
        for process in worker.processes:
            if process.call:
                process.call.end()
        worker.worker.close()
        for group in [*worker.groups]:
            worker.end(group)

    def check(self) -> None:
        """Compare the engine with the model."""
        invariants.check(self.model, self.world)

    def look(self) -> None:
        """Read what Redis holds now, and note the callbacks that were queued."""
        self.world = World(self.engine.redis)
        for job in self.model.of("waiting"):
            if job.may_be_dropped and self.world.job(job.id).get("status") == "canceled":
                self.model.drop(job)
        for parent in list(self.model.jobs.values()):
            for number in range(1, parent.callbacks + 1):
                job_id = f"{parent.id}-callback-{number}"
                if job_id not in self.model.jobs and job_id in self.world.places:
                    self.model.add(Job(
                        job_id, self.model.next_name(), "waiting", parent.queue, CALLBACK_ATTEMPTS,
                        type="callback", is_patient=True, is_listed=False,
                    ))  # fmt: skip
        for process in self.processes:
            if process.call and process.call.is_armed:
                self._note_begun(process.call)

    def _expect(self, answer: str, expected: str, what: str) -> None:
        assert answer == expected, f"{what}: the engine answered {answer!r}, and must answer {expected!r}"

    def run_out(self, job: Job) -> None:
        """Let the lease of a running job run out."""
        self.engine.run_out(job.queue, f"{job.id}:{job.execution}")
        job.note("its lease runs out")
        self.look()

    def _lost(self) -> list[Job]:
        """Return the jobs whose lease has run out."""
        expired = {member for member, ends in self.world.leases.items() if ends <= self.world.now}
        return [job for job in self.model.jobs.values() if f"{job.id}:{job.execution}" in expired]

    def _note_begun(self, call: Call) -> None:
        """Tell the model of the jobs that Redis has given for a claim."""
        for member in self.world.leases:
            job_id, _, execution = member.rpartition(":")
            job = self.model.jobs.get(job_id)
            if job and call.gave(execution) and job.execution != execution and job.status == "waiting":
                self.model.begin(job_id, execution, call.kind)
