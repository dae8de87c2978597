"""What the queue promises, as a model in plain Python: it knows of each job where it must be, and why.

The rules (rules.py) tell the model what they have done; the invariants (invariants.py) compare it with Redis.
The model knows no keys and no scripts.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Literal

from taskqueue.worker.decision import How

Status = Literal[
    "waiting",  # on its queue, or held by a limit of its type
    "scheduled", "deferred", "started", "finished", "failed", "stopped", "canceled",
    "gone",  # deleted, or forgotten some time after its end
]  # fmt: skip
End = How | Literal["finished", "postponed", "alone"]
"""How a run ends; alone: its job is put back, and never again runs or is claimed together with others."""
Kind = Literal["finished", "failed", "stopped", "retried", "returned", "postponed"]
"""What becomes of its job."""
ENDED = frozenset(("finished", "failed", "stopped", "canceled"))
CONCURRENCY = {"single": 1, "pair": 2, "letter": 2}  # of the code
IO_TYPES = ("mail", "letter", "rq mail")  # where a worker has an I/O process, it runs their jobs
IN_WINDOW = 2  # starts that the limit "hourly" allows in an hour
CALLBACK_ATTEMPTS = 15


@dataclass
class Job:
    """One accepted job."""

    id: str
    name: str  # for people: "job 3"
    status: Status
    queue: str
    attempts: int  # the most runs
    type: str = "plain"
    is_patient: bool = False  # its next attempt comes an hour later
    has_callback: bool = False
    parents: tuple[str, ...] = ()  # that it was registered with: it was deferred at least once
    allow_failure: bool = False
    batch: str = ""  # it is the task at the end of this batch
    is_ours: bool = True  # it was submitted by our code
    is_listed: bool = True  # it is in the lists of tasks
    attempt: int = 0  # runs begun that count
    retries_left: int = field(init=False)
    execution: str = ""  # that has the job
    settled: list[str] = field(default_factory=list)  # executions whose outcome was accepted
    is_alone: bool = False  # it must never again be claimed in a group, or run in an I/O process
    is_canceling: bool = False  # it is to be stopped, or never to begin again
    has_expired: bool = False
    ends: int = 0  # how often it has ended
    callbacks: int = 0  # how many of its callbacks were queued
    is_called: bool = False  # the callback of its latest end was queued
    rq_touched: bool = False  # RQ's own code has moved it, which knows nothing of limits, lifetimes and callbacks
    history: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.retries_left = self.attempts - 1
        self.note(self.status)

    def note(self, event: str) -> None:
        """Add to the history that a failure shows."""
        self.history.append(event)

    @property
    def is_alive(self) -> bool:
        """Whether it may still run."""
        return self.status not in ENDED and self.status != "gone"

    @property
    def kind(self) -> Literal["io", "cpu"]:
        """Which processes of a worker with an I/O process may claim it."""
        return "io" if self.type in IO_TYPES and not self.is_alone else "cpu"

    @property
    def must_be_alone(self) -> bool:
        """Whether it must not be claimed in a group: no attempt is may be lost, no limit or callback missed."""
        is_short = self.type in ("plain", "patient")
        return self.is_alone or self.retries_left < 1 or self.has_callback or not is_short

    @property
    def may_be_dropped(self) -> bool:
        """Whether the worker that takes it from its queue drops it."""
        return self.status == "waiting" and (self.is_canceling or (self.has_expired and self.attempt == 0))


@dataclass
class Batch:
    """One accepted batch."""

    id: str
    tasks: list[str]
    on_complete: str
    looked: int = 0  # so many of its tasks have been seen to end
    has_ended: bool = False


class Model:
    """All that was accepted, and what has become of it."""

    def __init__(self) -> None:
        self.jobs: dict[str, Job] = {}
        self.batches: dict[str, Batch] = {}
        self.dedupe: dict[str, str] = {}  # key: the id of the task that got it last
        self.keys: dict[str, tuple[object, str]] = {}  # idempotency key: the request and the id of its task
        self.begun: set[tuple[str, str]] = set()  # all jobs and executions that have ever begun
        self.paused: set[str] = set()
        self.is_suspended = False
        self.paused_types: set[str] = set()
        self.most = dict(CONCURRENCY)  # how many jobs of a type may run at a time
        self.changed: set[str] = set()  # types whose limits are not those of the code
        self.above: dict[str, int] = {}  # how many ran when the limit became lower than that
        self.hourly_starts = 0  # in this hour

    def add(self, job: Job) -> Job:
        """Note that a job was accepted."""
        assert job.id not in self.jobs, f"{job.id} was accepted twice"
        self.jobs[job.id] = job
        return job

    def next_name(self) -> str:
        """Return the name of the next job."""
        return f"job {len(self.jobs) + 1}"

    def of(self, *statuses: Status) -> list[Job]:
        """Return the jobs in one of these statuses, oldest first."""
        return [job for job in self.jobs.values() if job.status in statuses]

    # Before it runs

    def waits_for(self, parents: tuple[str, ...], allow_failure: bool) -> bool:
        """Return whether a job must wait for one of these; a parent that is gone holds nobody."""
        of = [self.jobs[parent].status for parent in parents]
        return any(
            status not in ("finished", "gone") and not (status == "failed" and allow_failure) for status in of
        )

    def holds_dedupe(self, key: str) -> str:
        """Return the id of the task that another one with this key is a duplicate of; "" if there is none."""
        holder = self.jobs.get(self.dedupe.get(key, ""))
        has_expired = holder and holder.has_expired and holder.attempt == 0
        return holder.id if holder and holder.is_alive and not has_expired else ""

    def make_ready(self, job: Job) -> None:
        """Note that what the job waited for has happened: it is on its queue."""
        job.status = "waiting"
        job.note("queued")

    def begin(self, job_id: str, execution: str, kind: Literal["any", "io", "cpu"]) -> None:
        """Note that an execution has the job now: one more attempt. Nobody may begin a job that does not wait."""
        job = self.jobs[job_id]
        job.note(f"begun by {execution}")
        assert job.status == "waiting", f"{job.name} was {job.status}, and {execution} has begun it"
        assert not job.may_be_dropped, f"{job.name} was canceled or had expired, and {execution} has begun it"
        assert job.queue not in self.paused, f"{job.name} was begun from the paused queue {job.queue}"
        assert not self.is_suspended, f"{job.name} was begun while rq suspend holds"
        assert job.type not in self.paused_types, f"{job.name} was begun, and its type {job.type} is paused"
        assert kind in ("any", job.kind), f"{job.name} is for {job.kind} processes, and one of {kind} has begun it"
        is_in_group = "." in execution
        assert not (is_in_group and job.type in self.changed), f"{job.type} has limits, {job.name} is in a group"
        job.status, job.execution = "started", execution
        job.attempt += 1
        job.is_called = False
        self.begun.add((job_id, execution))
        if job.type == "hourly":
            self.hourly_starts += 1

    def change_limits(self, job_type: str, most: int | None) -> None:
        """Note how many jobs of a type may run from now on; None: any number."""
        self.most.pop(job_type, None)
        if most is not None:
            self.most[job_type] = most
            self.above[job_type] = sum(job.type == job_type for job in self.of("started"))

    # When a run has ended

    def settle(self, job_id: str, execution: str, how: End) -> str:
        """Note that the outcome of a run was sent; return what the engine must answer."""
        job = self.jobs[job_id]
        if job.execution != execution:
            return "lost"
        job.execution = ""
        if job.status in ("gone", "canceled"):  # by RQ's own code, while it ran
            return "lost"
        job.settled.append(execution)
        kind = self._kind(job, how)
        job.note(f"{kind} ({execution})")
        if job.is_canceling and kind != "finished":
            job.is_canceling = False
            self.end(job, "canceled")
            return "canceled"
        match kind:
            case "finished" | "failed" | "stopped":
                self.end(job, kind)
            case "retried":
                job.retries_left -= 1
                job.status = "scheduled" if job.is_patient else "waiting"
            case "postponed":  # its worker does not know the job's type yet
                job.attempt -= 1
                job.status = "scheduled"
            case "returned":  # it has not really begun
                job.attempt -= 1
                job.status = "waiting"
                job.is_alone = job.is_alone or how == "alone"
                if job.type == "hourly":
                    self.hourly_starts -= 1
        return "yes"

    def abandon(self, job_id: str, execution: str, how: End) -> None:
        """Note that the engine was told that nobody runs this any more. What is gone cannot be settled."""
        if self.jobs[job_id].status != "gone":
            self.settle(job_id, execution, how)

    @staticmethod
    def _kind(job: Job, how: End) -> Kind:
        match how:
            case "finished" | "postponed":
                return how
            case How.STOPPED:
                return "stopped"
            case How.RETURNED | "alone":
                return "returned"
            case How.RAISED_PERMANENT | How.UNREADABLE:
                return "failed"
        return "retried" if job.retries_left > 0 else "failed"

    def end(
        self, job: Job, status: Literal["finished", "failed", "stopped", "canceled"], by_rq: bool = False
    ) -> None:
        """Note that a job has ended; RQ's own code leaves the callback to the chore that looks for missed ones."""
        job.status = status
        job.note(status)
        if not by_rq:
            job.is_called = False  # that was for an earlier end
        if not job.is_called:  # else nobody looks for it: RQ's code has requeued and canceled it
            job.ends += 1
        if not by_rq:
            self.call_back(job)
        if status != "canceled":
            self._release_dependents(job)

    def _release_dependents(self, parent: Job) -> None:
        for child in self.of("deferred"):
            is_met = parent.status == "finished" or (parent.status == "failed" and child.allow_failure)
            if parent.id in child.parents and is_met and not self.waits_for(child.parents, child.allow_failure):
                self.make_ready(child)

    def call_back(self, job: Job) -> None:
        """Note that the callback of an ended job is owed, if it has one and it was not queued yet."""
        if job.has_callback and not job.is_called:
            job.callbacks += 1
            job.is_called = True

    @staticmethod
    def skip_callback(job: Job) -> None:
        """Note that a job is requeued: a callback of its end that was not queued yet is not owed any more."""
        if job.has_callback and not job.is_called:
            job.ends -= 1

    def drop(self, job: Job) -> None:
        """Note that a worker has dropped a job instead of beginning it."""
        assert job.may_be_dropped, f"{job.name} was dropped, and was neither canceled nor expired"
        job.is_canceling = False
        self.end(job, "canceled")

    # Operations

    def cancel(self, job: Job) -> str:
        """Cancel a job; return what the engine must answer."""
        if job.status == "started":
            job.is_canceling = True
            job.note("cancel")
            return "stopping"
        if not job.is_alive:
            return "refused"
        self.end(job, "canceled")
        return "canceled"

    def requeue(self, job: Job) -> str:
        """Requeue a job with all its attempts; return what the engine must answer."""
        if job.status not in ("failed", "stopped", "canceled"):
            return "refused"
        self.skip_callback(job)
        job.execution = ""  # RQ's own code has canceled it while it ran: that run has lost the job
        job.attempt, job.is_called, job.has_expired, job.is_canceling = 0, False, False, False
        if job.is_ours and job.attempts > 1:
            job.retries_left = job.attempts - 1
        job.status = "deferred" if self.waits_for(job.parents, job.allow_failure) else "waiting"
        job.note(f"requeued: {job.status}")
        return "done"

    def delete(self, job: Job, is_lost: bool) -> str:
        """Delete a job, unless it runs; `is_lost`: its lease has run out. Return what the engine must answer."""
        if not is_lost and (job.status == "gone" or job.execution):
            return "refused"
        job.execution = ""
        self.forget(job)
        return "done"

    def forget(self, job: Job) -> None:
        """Note that nothing is left of a job."""
        job.status = "gone"
        job.note("gone")

    def finish_batches(self) -> None:
        """Note that the batches whose tasks have all ended are ended, and their last tasks released."""
        for batch in self.batches.values():
            while batch.looked < len(batch.tasks) and not self.jobs[batch.tasks[batch.looked]].is_alive:
                batch.looked += 1
            if not batch.has_ended and batch.looked == len(batch.tasks):
                batch.has_ended = True
                last = self.jobs.get(batch.on_complete)
                if last and last.status == "deferred":
                    self.make_ready(last)

    def counted(self, batch: Batch) -> Iterator[str]:
        """Yield the status of each task of a batch as it is counted."""
        shown = {"waiting": "queued", "started": "processing", "finished": "complete", "stopped": "canceled"}
        for task in batch.tasks:
            status = self.jobs[task].status
            yield shown.get(status, status)
