"""Changes what RQ's own code does when it settles a job in a work-horse: see by_rq.py."""

import logging
import sys
from typing import Any

from rq import Worker as RQWorker
from rq.executions import Execution

from taskqueue.hooks.running import report_failure
from taskqueue.store.keys import Field, limit_running_key
from taskqueue.tasks.failure import failure_text
from taskqueue.tasks.running import CurrentTask
from taskqueue.telemetry.log import about
from taskqueue.worker.decision import How
from taskqueue.worker.error import shortened
from taskqueue.worker.job import RegisteredJob
from taskqueue.worker.maintenance.limit_releaser import LimitReleaser
from taskqueue.worker.maintenance.missed_callbacks import MissedCallbacks

log = logging.getLogger(__name__)


class SettlesByRQ(RQWorker):
    """RQ's worker, which settles a job only if the execution still has it, and counts nothing itself."""

    def prepare_job_execution(self, job: Any, remove_from_intermediate_queue: bool = False) -> None:
        """Set only the fields of the object if the job is claimed: the claim has stored them."""
        if isinstance(job, RegisteredJob) and job.claimed:
            # Never executed: since the claim, RQ's own code may have canceled the job.
            job.prepare_for_execution(self.name, pipeline=self.connection.pipeline())
        else:
            super().prepare_job_execution(job, remove_from_intermediate_queue)

    def handle_job_success(self, job: Any, queue: Any, started_job_registry: Any, execution: Any = None) -> None:
        """Store a result, unless another execution has the job."""
        if self._has_job(execution):
            super().handle_job_success(job, queue, started_job_registry, execution)
            self._after_end(job, execution)

    def handle_job_failure(
        self,
        job: Any,
        queue: Any,
        started_job_registry: Any = None,
        exc_string: str = "",
        execution: Any = None,
    ) -> None:
        """Store a failure or queue the next attempt, unless another execution has the job."""
        if not self._has_job(execution):
            return
        exc_string = shortened(exc_string)
        # An outcome that was decided before brings its reason (ByRQ.settle); RQ calls this in an `except` block.
        error = sys.exc_info()[1]
        reason = job.reason or job.decide(How.of_error(error)).reason
        if reason and error and not job.reason:  # otherwise the horse has called the hooks
            report_failure(CurrentTask(job.id, self.connection, job.type_name), error)
        if reason:
            job.retries_left = 0  # RQ retries while there are some left
            failure = failure_text(job.type_name, exc_string)
            self.connection.hset(job.key, items=[Field.FAILURE, failure, Field.REASON, reason])
        super().handle_job_failure(job, queue, started_job_registry, exc_string, execution)
        self._after_end(job, execution)

    def _after_end(self, job: RegisteredJob, execution: Execution) -> None:
        """Do the rest of what settle_and_claim.lua does when it settles a job."""
        self.connection.srem(limit_running_key(job.type_name), execution.composite_key)
        MissedCallbacks(self.connection).run(job.id)
        LimitReleaser(self.connection).run()

    def _has_job(self, execution: Execution) -> bool:
        key = execution.job.started_job_registry.key
        has_lease = self.connection.zscore(key, execution.composite_key) is not None
        # A job that was deleted or canceled by RQ's own code may have its lease until the next heartbeat.
        if has_lease and self.connection.hget(execution.job.key, "status") not in (None, b"canceled"):
            return True
        log.warning(
            "Task %s was given to another worker, canceled or deleted; its outcome is dropped",
            execution.job_id, extra=about(execution.job_id),
        )  # fmt: skip
        return False

    # RQ counts with each job; here the heartbeat does it, from `Tally`.

    def increment_failed_job_count(self, pipeline: object = None) -> None:
        """Do nothing: see `Tally`."""

    def increment_successful_job_count(self, pipeline: object = None) -> None:
        """Do nothing: see `Tally`."""

    def increment_total_working_time(self, job_execution_time: object, pipeline: object) -> None:
        """Do nothing: see `Tally`."""
