"""What RQ's own code asks of a worker while it runs and settles a job in a work-horse: see by_rq.py."""

import logging
from typing import Any

from rq import Worker as RQWorker
from rq.executions import Execution

from taskqueue.store.keys import Field
from taskqueue.tasks.failure import failure_text
from taskqueue.worker.error import kept
from taskqueue.worker.job import RegisteredJob
from taskqueue.worker.maintenance.limit_releaser import LimitReleaser
from taskqueue.worker.maintenance.missed_callbacks import MissedCallbacks

log = logging.getLogger(__name__)


class SettlesByRQ(RQWorker):
    """RQ's worker, but for what a run settles that has lost its job meanwhile, and for who counts."""

    def handle_job_success(self, job: Any, queue: Any, started_job_registry: Any, execution: Any = None) -> None:
        """Store a result, unless the job is this execution's no more."""
        if self._owns(execution):
            super().handle_job_success(job, queue, started_job_registry, execution)
            self._ended(job)

    def handle_job_failure(
        self,
        job: Any,
        queue: Any,
        started_job_registry: Any = None,
        exc_string: str = "",
        execution: Any = None,
    ) -> None:
        """Store a failure, unless the job is this execution's no more."""
        if self._owns(execution):
            exc_string = kept(exc_string)
            if not job.should_retry:
                self.connection.hset(job.key, Field.FAILURE, failure_text(job.type_name, exc_string))
            super().handle_job_failure(job, queue, started_job_registry, exc_string, execution)
            self._ended(job)

    def _ended(self, job: RegisteredJob) -> None:
        """What turn.lua does besides where it settles a job itself."""
        MissedCallbacks(self.connection).run(job.id)
        LimitReleaser(self.connection).run()

    def _owns(self, execution: Execution) -> bool:
        key = execution.job.started_job_registry.key
        if self.connection.zscore(key, execution.composite_key) is not None:
            return True
        log.warning("Task %s was given to another worker, canceled or deleted meanwhile", execution.job_id)
        return False

    # RQ counts with each job; the heartbeat does it here.

    def increment_failed_job_count(self, pipeline: object = None) -> None:
        """Nothing: see `Tally`."""

    def increment_successful_job_count(self, pipeline: object = None) -> None:
        """Nothing: see `Tally`."""

    def increment_total_working_time(self, job_execution_time: object, pipeline: object) -> None:
        """Nothing: see `Tally`."""
