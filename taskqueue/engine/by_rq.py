"""RQ's own code, for the jobs that use more of RQ than a turn can settle: dependents, repeats, groups, limits."""

import json
import zlib
from base64 import b64decode
from datetime import UTC, datetime

from redis import Redis
from rq import Worker as RQWorker
from rq.executions import Execution
from rq.queue import Queue
from rq.serializers import JSONSerializer

from taskqueue.engine.job import RegisteredJob
from taskqueue.engine.turn import Outcome


class ByRQ:
    """RQ's way to run and to settle a job, on one connection."""

    def __init__(self, worker: RQWorker, connection: Redis) -> None:
        self._worker = worker
        self._connection = connection

    def run(self, job: RegisteredJob, execution_id: str) -> None:
        """Run the job and settle it."""
        self._worker.perform_job(job, self._queue(job), self._execution(job.id, execution_id))

    def settle(self, outcome: Outcome) -> None:
        """Settle a job that has run already, for whose end others wait."""
        job = RegisteredJob.fetch(outcome.job, connection=self._connection, serializer=JSONSerializer)
        job.ended_at = datetime.fromtimestamp(outcome.ended, UTC)
        queue, execution = self._queue(job), self._execution(job.id, outcome.execution)
        if outcome.kind == "finished":
            job._result = json.loads(b64decode(outcome.text)) if outcome.text else None
            self._worker.handle_job_success(job, queue, queue.started_job_registry, execution)
        else:
            job.retries_left = 0
            text = zlib.decompress(b64decode(outcome.text)).decode()
            self._worker.handle_job_failure(job, queue, exc_string=text, execution=execution)

    def _queue(self, job: RegisteredJob) -> Queue:
        return Queue(job.origin, connection=self._connection, job_class=RegisteredJob, serializer=JSONSerializer)

    def _execution(self, job_id: str, execution_id: str) -> Execution:
        return Execution(execution_id, job_id, self._connection, self._worker.name)
