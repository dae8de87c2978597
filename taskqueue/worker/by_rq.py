"""Runs and settles jobs by RQ's own code, if they use a feature of RQ that settle_and_claim.lua leaves out.

Dependents, repeats, groups, rate limits, webhooks and callbacks.
"""

import json
import os
import signal
from base64 import b64decode
from datetime import UTC, datetime

from redis import Redis
from rq import Worker as RQWorker
from rq.callbacks import execute_failure_callback, execute_stopped_callback
from rq.executions import Execution
from rq.queue import Queue
from rq.serializers import JSONSerializer

from taskqueue.hooks import registry as hooks
from taskqueue.hooks.running import around_this_process, report_failure
from taskqueue.tasks.running import CurrentTask
from taskqueue.worker.job import RegisteredJob
from taskqueue.worker.settle_and_claim import Outcome


class WorkHorseDied(Exception):
    """The exception for a failure callback of a job whose own exception died with its work-horse."""


class ByRQ:
    """RQ's code for running and settling a job, on one connection."""

    def __init__(self, worker: RQWorker, connection: Redis) -> None:
        self._worker = worker
        self._connection = connection

    def run(self, job: RegisteredJob, execution_id: str) -> bool:
        """Run the job and settle it; return whether it succeeded."""
        return self._worker.perform_job(job, self._queue(job), self._execution(job.id, execution_id))

    def settle(self, outcome: Outcome) -> None:
        """Settle a job that has run already, and whose end other jobs wait for."""
        job = RegisteredJob.fetch(outcome.job, connection=self._connection, serializer=JSONSerializer)
        job.ended_at = datetime.fromtimestamp(outcome.ended, UTC)
        queue, execution = self._queue(job), self._execution(job.id, outcome.execution)
        if outcome.kind == "finished":
            job._result = json.loads(b64decode(outcome.result)) if outcome.result else None
            self._worker.handle_job_success(job, queue, queue.started_job_registry, execution)
        else:
            job.reason = outcome.reason
            self._worker._stopped_job_id = job.id if outcome.kind == "stopped" else None
            self._worker.handle_job_failure(job, queue, exc_string=outcome.error, execution=execution)

    def call_back(self, job: RegisteredJob, outcome: Outcome) -> None:
        """Call the callback and the hooks of a job whose run was abandoned, in a process of its own.

        The worker calls this, and it runs no application code itself. Code that fails there changes nothing.
        """
        callback = job.stopped_callback if outcome.kind == "stopped" else job.failure_callback
        has_hooks = outcome.kind == "failed" and bool(hooks.failures)
        if not callback and not has_hooks:
            return
        child = os.fork()
        if child:
            os.waitpid(child, 0)
            return
        try:
            if os.fork() == 0:  # a child's child: nobody needs to wait for its end
                os.setpgid(0, 0)
                signal.set_wakeup_fd(-1)
                error = WorkHorseDied(outcome.error)
                if callback and outcome.kind == "stopped":
                    execute_stopped_callback(job, self._worker.death_penalty_class)
                elif callback:
                    execute_failure_callback(job, self._worker.death_penalty_class, type(error), error, None)
                if has_hooks:
                    with around_this_process():
                        report_failure(CurrentTask(job.id, self._connection, job.type_name), error)
        finally:
            os._exit(0)

    def _queue(self, job: RegisteredJob) -> Queue:
        return Queue(job.origin, connection=self._connection, job_class=RegisteredJob, serializer=JSONSerializer)

    def _execution(self, job_id: str, execution_id: str) -> Execution:
        return Execution(execution_id, job_id, self._connection, self._worker.name)
