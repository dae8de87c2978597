"""The actions of RQ's own code on the same data."""

from tests.model.model import Job
from tests.model.played import Played


class PlayRQ(Played):
    """What stock tools of RQ do."""

    def rq_enqueue(
        self, queue: str, retries: int, parent: Job | None = None, allow_failure: bool = False,
        job_type: str = "generic",
    ) -> None:  # fmt: skip
        """Enqueue a job by RQ's own code."""
        parents = (parent.id,) if parent else ()
        must_wait = self.model.waits_for(parents, allow_failure)
        job_id = self.engine.rq_enqueue(queue, retries, parent.id if parent else "", allow_failure, job_type)
        self.model.add(Job(
            job_id, self.model.next_name(), "deferred" if must_wait else "waiting", queue, 1 + retries,
            type=f"rq {job_type}", parents=parents, allow_failure=allow_failure, is_ours=False, is_listed=False,
        ))  # fmt: skip
        self.look()

    def rq_cancel(self, job: Job) -> None:
        """Cancel a job by RQ's own code, even one that runs."""
        self.engine.rq_cancel(job.id)
        self.model.end(job, "canceled", by_rq=True)
        self._note_rqs_end(job)

    def rq_requeue(self, job: Job) -> None:
        """Requeue a failed job by RQ's own code."""
        self.engine.rq_requeue(job.id)
        self.model.skip_callback(job)
        self.model.make_ready(job)
        job.rq_touched = True
        self.look()
        # RQ leaves what is left, which is 0 after RQ's code has settled the failure.
        job.retries_left = int(self.world.job(job.id).get("retries_left", 0))

    def rq_delete(self, job: Job) -> None:
        """Delete a job by RQ's own code, even one that runs."""
        self.engine.rq_delete(job.id)
        self.model.forget(job)
        self._note_rqs_end(job)

    def _note_rqs_end(self, job: Job) -> None:
        """Note that RQ's code has ended a job; where it finds the record of a run, it takes the lease, too."""
        job.rq_touched = True
        self.look()
        if f"{job.id}:{job.execution}" not in self.world.leases:
            job.execution = ""

    def rq_clean(self) -> None:
        """Clean the registries by RQ's own code: it settles the runs whose lease has run out."""
        self.engine.rq_clean()
        for job in self._lost():
            job.rq_touched = True
            job.execution = ""
            if job.status != "started":
                continue
            if job.retries_left > 0:
                job.retries_left -= 1
                job.status = "scheduled" if job.is_patient else "waiting"
                job.note(f"retried by RQ: {job.status}")
            else:
                self.model.end(job, "failed", by_rq=True)
        self.look()

    def rq_fetch_all(self) -> None:
        """Read all jobs by RQ's own class."""
        for job in self.model.jobs.values():
            if job.status != "gone":
                self.engine.rq_fetch(job.id)
