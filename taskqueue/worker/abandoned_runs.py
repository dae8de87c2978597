"""Settles runs that their work-horse could not settle: it died or was killed, or its worker is lost."""

import logging
import time
from collections.abc import Sequence

from redis import Redis
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisError
from redis.exceptions import TimeoutError as RedisTimeoutError
from rq.job import JobStatus
from rq.rate_limit import RateLimitRegistry
from rq.serializers import JSONSerializer

from taskqueue.telemetry.counters import Tally
from taskqueue.telemetry.log import about
from taskqueue.worker.by_rq import ByRQ
from taskqueue.worker.decision import Ending
from taskqueue.worker.job import RegisteredJob
from taskqueue.worker.job_log import JobLog
from taskqueue.worker.settle_and_claim import Outcome, SettleAndClaim, outcome_of
from taskqueue.worker.wrong_types import is_wrong_type

log = logging.getLogger(__name__)


class AbandonedRuns:
    """Settles abandoned runs: for Leases those of this worker, for LostJobs those of silent workers."""

    def __init__(
        self, connection: Redis, settle_and_claim: SettleAndClaim, by_rq: ByRQ, failure_ttl: int, tally: Tally
    ) -> None:
        self._connection = connection
        self._settle_and_claim = settle_and_claim
        self._by_rq = by_rq
        self._failure_ttl = failure_ttl
        self._tally = tally
        self._job_log = JobLog()

    def settle(self, job_id: str, execution: str, ending: Ending) -> bool:
        """Settle a run; return False if its job is gone or unreadable. Raises the driver's errors."""
        try:
            return self._settle(job_id, execution, ending)
        except RedisError as error:
            if not is_wrong_type(error):
                raise
            reason: Exception = error
        except Exception as error:  # noqa: BLE001  another program may have written anything
            reason = error
        log.warning("The run of task %s cannot be settled and is dropped: %s", job_id, reason, extra=about(job_id))
        return False

    def settle_ended(self, outcomes: Sequence[Outcome]) -> None:
        """Settle runs that had ended before their horse did. Raises the driver's errors."""
        answer = self._settle_and_claim(outcomes, give_up=lambda: True) if outcomes else None
        for outcome, settled in zip(outcomes, answer.settled if answer else (), strict=True):
            if settled == "dependents":
                self._by_rq.settle(outcome)
            if settled != "lost":
                self._tally.add(outcome.job_type, outcome.kind, outcome.ended - outcome.began, outcome.origin)
                self._job_log.settled(outcome)

    def _settle(self, job_id: str, execution: str, ending: Ending) -> bool:
        try:
            job = RegisteredJob.fetch(job_id, connection=self._connection, serializer=JSONSerializer)
        except (RedisConnectionError, RedisTimeoutError):
            raise
        except Exception as error:  # noqa: BLE001  deleted or unreadable: there is no job to retry
            log.warning("Task %s is gone or unreadable, so its run is dropped: %s", job_id, error,
                        extra=about(job_id))  # fmt: skip
            return False
        began = job.started_at.timestamp() if job.started_at else time.time()
        outcome = outcome_of(job, execution, ending, began, self._failure_ttl)
        (settled,) = self._settle_and_claim([outcome], give_up=lambda: True).settled
        if job.has_rate_limit and settled != "dependents":
            self._release_slot(job)
        if settled == "lost":
            return True
        if settled == "dependents":
            self._by_rq.settle(outcome)
        # Somebody asked to cancel the job before its horse died: then it has not failed.
        is_canceled = settled == "canceled"
        if outcome.kind == "stopped" or (outcome.kind == "failed" and not is_canceled):
            self._by_rq.call_back(job, outcome)
        counted = "stopped" if is_canceled else outcome.kind
        self._tally.add(outcome.job_type, counted, outcome.ended - began, outcome.origin)
        if is_canceled:
            self._job_log.canceled(outcome)
        else:
            self._job_log.abandoned(job, outcome)
        return True

    def _release_slot(self, job: RegisteredJob) -> None:
        """Free the job's slot of RQ's rate limit. RQ's cancel leaves that to the worker of the run."""
        limit = RateLimitRegistry.from_job(job)
        if job.get_status(refresh=True) == JobStatus.CANCELED:
            limit.release_and_enqueue(job.id)
        else:
            limit.release_stale_and_enqueue(job.id)
