"""Decides what becomes of a job whose run did not succeed: the only place that decides about a retry.

How long a retry waits was chosen when the job was queued: see jobtypes/retry.py.
"""

import math
from enum import Enum
from typing import Literal, NamedTuple

from rq.exceptions import DeserializationError
from rq.timeouts import JobTimeoutException

from taskqueue.errors import HostPaused, InvalidPayload, PermanentFailure, RetryLater, UnknownJobType
from taskqueue.jobtypes.signature import NO_SUCH_FIELD
from taskqueue.tasks.put_off import CALLBACK_PLACE, PutOff
from taskqueue.tasks.reason import ReasonCode

OutcomeKind = Literal["finished", "failed", "stopped", "retried", "postponed", "returned"]

NEWER_CODE_SECONDS = 600  # for so long a job waits for a worker that knows its type and all its fields
HOST_SECONDS = 3600  # for so long an attempt waits for a host that does not answer; then it counts as failed
MAX_WAIT_SECONDS = 7 * 86_400
FIRST_POSTPONED_SECONDS, LONGEST_POSTPONED_SECONDS = 5, 30


class How(Enum):
    """How a run ended that did not succeed, and the reason to store if its job fails for good."""

    RAISED = ReasonCode.ERROR
    RAISED_PERMANENT = ReasonCode.PERMANENT
    TIMED_OUT = ReasonCode.TIMEOUT  # its time limit was raised in it, or its horse was killed at the hard limit
    HORSE_DIED = ReasonCode.HORSE_DIED  # and nobody had killed it on purpose
    WORKER_LOST = ReasonCode.WORKER_LOST
    UNREADABLE = ReasonCode.UNREADABLE
    STOPPED = ReasonCode.STOPPED
    RETURNED = None  # it had not begun, or its worker had to stop: not the job's fault

    @classmethod
    def of_error(cls, error: BaseException | None) -> "How":
        """Return how a run ended that raised this error."""
        if isinstance(error, PermanentFailure | DeserializationError):
            return cls.RAISED_PERMANENT
        return cls.TIMED_OUT if isinstance(error, JobTimeoutException) else cls.RAISED


def is_unknown_here(error: BaseException | None, job_type: str) -> bool:
    """Return whether a run failed because this worker does not know the job's type yet, or one of its fields."""
    if isinstance(error, UnknownJobType):
        return error.name == job_type
    payload_error = error.__cause__ if isinstance(error, PermanentFailure) else None
    if not isinstance(payload_error, InvalidPayload) or payload_error.job_type != job_type:
        return False
    return all(detail.message == NO_SUCH_FIELD for detail in payload_error.errors)


def postponed_seconds(unknown_since: float, now: float) -> int:
    """Return when to try a job again that is unknown here; 0: it has waited for newer code for long enough.

    `unknown_since`: when a worker first met it, in seconds since 1970; 0: no worker has met it before.
    """
    age = max(0.0, now - (unknown_since or now))
    if age >= NEWER_CODE_SECONDS:
        return 0
    return int(min(max(age / 4, FIRST_POSTPONED_SECONDS), LONGEST_POSTPONED_SECONDS))


def put_off_again(before: PutOff | None, attempt: int, cause: str, now: float) -> PutOff | None:
    """Return how to put a job off for this cause; None: it has waited for a host for long enough.

    `before` is how it was put off last. Each attempt can wait for HOST_SECONDS.
    """
    since = before.since if before and before.attempt == attempt else now
    if cause != CALLBACK_PLACE and now - since >= HOST_SECONDS:
        return None
    return PutOff(since, attempt, cause)


def seconds_to_wait(error: BaseException | None) -> int:
    """Return the seconds for which an error wants its job to wait; mostly 0."""
    seconds = error.seconds if isinstance(error, HostPaused | RetryLater) else 0.0
    return math.ceil(max(0.0, min(seconds, MAX_WAIT_SECONDS)))  # in this order: NaN becomes 0


class Ending(NamedTuple):
    """How a run ended that did not succeed, with the words for people."""

    how: How
    message: str  # a traceback, or one sentence
    alone: bool = False  # a job that is put back is never again claimed together with others
    retry_after: int = 0  # seconds for which the next attempt must wait at the least


class Attempts(NamedTuple):
    """What a decision needs to know of a job."""

    made: int  # runs begun, this one included
    retries_left: int
    delay: int = 0  # seconds until the next attempt
    deaths: int = 0  # how many runs ended their work-horse, this one not included


class Decision(NamedTuple):
    """What becomes of a job."""

    kind: OutcomeKind
    reason: ReasonCode | None = None  # stored with a job that fails for good or was stopped
    delay: int = 0  # retried: seconds until the next attempt; 0: at once
    retries_left: int = 0  # retried: to be stored
    deaths: int = 0  # to be stored; 0: as it is


def decide(how: How, attempts: Attempts) -> Decision:
    """Return what becomes of a job whose run ended like this."""
    if how is How.RETURNED:
        return Decision("returned")
    if how is How.STOPPED:
        return Decision("stopped", how.value)
    deaths = attempts.deaths + 1 if how in (How.HORSE_DIED, How.WORKER_LOST) else 0
    if attempts.retries_left > 0 and how not in (How.RAISED_PERMANENT, How.UNREADABLE):
        return Decision("retried", delay=attempts.delay, retries_left=attempts.retries_left - 1, deaths=deaths)
    is_poison = deaths == attempts.made > 1
    return Decision("failed", ReasonCode.POISON if is_poison else how.value, deaths=deaths)
