"""A job as our workers run it: calls only a registered job type, and counts its attempts."""

import json
import zlib
from collections.abc import Callable, Mapping
from typing import Any, Self

from redis import Redis
from redis.client import Pipeline
from rq.job import Job, JobStatus
from rq.serializers import JSONSerializer
from rq.utils import now

from taskqueue.call import Call, registered_call
from taskqueue.enqueue.job_fields import PLAIN_FIELDS
from taskqueue.errors import PermanentFailure, UnknownJobType
from taskqueue.jobtypes.names import CALL_PREFIX, job_type_name
from taskqueue.jobtypes.rq_callbacks import registered_callbacks
from taskqueue.store.keys import Field, decoded
from taskqueue.tasks.put_off import PutOff
from taskqueue.tasks.reason import ReasonCode
from taskqueue.worker.decision import Attempts, Decision, How, decide

FRESH = frozenset(field.encode() for field in PLAIN_FIELDS)
"""The fields of a job that `TaskQueue.submit` has written, and that nothing has changed since."""
FRESH_OF_A_REQUEST = FRESH | {Field.TRACE.encode()}
FRESH_OF_A_KEY = FRESH_OF_A_REQUEST | {Field.BY.encode()}
FRESH_OF_OURS = (FRESH_OF_A_REQUEST, FRESH_OF_A_KEY, FRESH)
NEEDED = frozenset(b"created_at enqueued_at data origin status timeout".split())
FRESH_OF_RQ = FRESH_OF_A_KEY | {b"number_of_retries"}
"""The fields of a job that RQ's own enqueue has written, without those of RQ's other features, which are empty."""
MAX_RETRY_SECONDS = 10 * 365 * 86_400
DEFAULT_TIMEOUT_SECONDS = 180  # RQ's, for a job without a timeout
DATE_LENGTH = len("2026-11-24T10:43:05.120000Z")
_read_json = json.JSONDecoder().raw_decode


class RegisteredJob(Job):
    """An RQ job that calls only a registered job type, whatever a program has written to Redis."""

    attempt: int = 0  # runs begun so far
    attempts: int = 1  # runs allowed
    deaths: int = 0  # runs that ended their work-horse
    unknown_since: float = 0.0  # since when it waits for a worker that knows its type and its fields
    put_off: PutOff | None = None  # how its turn was put off last
    is_ours: bool = True  # queued by our code; other programs' jobs are never newer than this worker
    claimed: bool = False  # the claim has counted this attempt already
    reason: ReasonCode | None = None  # decided before RQ's own code settles it: see by_rq.py

    @property
    def func(self) -> Call:
        """The job type's function. Raises `UnknownJobType` for any other name, and `PermanentFailure`."""
        if self.instance is not None:
            raise PermanentFailure("This job calls a method of an object; only job types are run.")
        for name in (self._success_callback_name, self._failure_callback_name, self._stopped_callback_name):
            if name and name not in registered_callbacks:
                raise PermanentFailure(f"This job has the callback {name!r}, which no @callback has registered.")
        name = self.func_name or ""
        try:
            return registered_call(name)
        except UnknownJobType as error:
            if name.startswith(CALL_PREFIX):
                raise  # another worker may have newer code that knows the name, so the job is retried
            raise PermanentFailure(str(error)) from error

    # RQ would import any function that a job's hash names as its callback. Here a name that is not
    # registered is no callback, and `func` refuses the job.
    @property
    def success_callback(self) -> Callable[..., Any] | None:
        """The registered callback for a job that has succeeded."""
        return registered_callbacks.get(self._success_callback_name or "")

    @property
    def failure_callback(self) -> Callable[..., Any] | None:
        """The registered callback for a job that has failed for good."""
        return registered_callbacks.get(self._failure_callback_name or "")

    @property
    def stopped_callback(self) -> Callable[..., Any] | None:
        """The registered callback for a job that was stopped on request."""
        return registered_callbacks.get(self._stopped_callback_name or "")

    @property
    def runs(self) -> str:
        """The number of this attempt, in words: "attempt 2 of 5"."""
        return f"attempt {self.attempt} of {max(self.attempts, self.attempt)}"

    @property
    def type_name(self) -> str:
        """The job type, for the log; "unreadable" if the job's data is no JSON job."""
        try:
            return job_type_name(self.func_name or "")
        except Exception:  # noqa: BLE001  another program may have written anything; the log line must not fail
            return "unreadable"

    @classmethod
    def fetch(cls, id: str, connection: Redis | None = None, serializer: Any = None) -> Self:  # noqa: A002  RQ's name
        """Return the job of this id. Raises `NoSuchJobError`, and what a malformed hash makes RQ raise."""
        job = super().fetch(id, connection, serializer)
        assert isinstance(job, cls)  # noqa: S101  RQ's annotation is its base class
        return job

    def restore(self, raw_data: Mapping[bytes, bytes]) -> None:
        """Read the job from its hash, with our own fields."""
        super().restore(raw_data)
        self.attempt = int(raw_data.get(Field.ATTEMPT.encode(), 0))
        self.attempts = int(raw_data.get(Field.ATTEMPTS.encode(), 1 + (self.retries_left or 0)))
        self.deaths = int(raw_data.get(Field.DEATHS.encode(), 0))
        self.is_ours = Field.ATTEMPTS.encode() in raw_data
        self.unknown_since = float(raw_data.get(Field.UNKNOWN_SINCE.encode(), 0))
        self.put_off = PutOff.read(decoded(raw_data.get(Field.PUT_OFF.encode(), b"")))

    def get_retry_interval(self) -> int:
        """Return the seconds until the next attempt: ten years at most; 0 where the hash names no such number."""
        try:
            seconds = float(super().get_retry_interval())
        except Exception:  # noqa: BLE001  another program may have written anything; the job is retried all the same
            return 0
        return int(max(0, min(seconds, MAX_RETRY_SECONDS)))  # in this order: NaN becomes 0

    def decide(self, how: How, retry_after: int = 0) -> Decision:
        """Return what becomes of the job after a run that ended like this.

        `retry_after`: seconds for which the next attempt must wait at the least.
        """
        delay = max(self.get_retry_interval() if self.should_retry else 0, retry_after)
        return decide(how, Attempts(self.attempt, self.retries_left or 0, delay, self.deaths))

    @property
    def limit_seconds(self) -> float:
        """How many seconds a run may take; below 0: without a limit. Raises ValueError for a timeout in words."""
        return float(self.timeout or DEFAULT_TIMEOUT_SECONDS)

    @property
    def waits(self) -> bool:
        """Whether this attempt has come to its turn before, and was put off."""
        return bool(self.unknown_since or (self.put_off and self.put_off.attempt == self.attempt))

    @property
    def needs_rqs_code(self) -> bool:
        """Whether only RQ's own code can settle the job; our script settles all others."""
        return bool(
            self.has_rate_limit
            or self.repeats_left
            or self.webhooks
            or self.group_id
            or self._success_callback_name
            or self._failure_callback_name
            or self._stopped_callback_name
        )

    def prepare_for_execution(self, worker_name: str, pipeline: Pipeline) -> None:
        """Count the attempt in the transaction that marks the job as started, unless its claim has counted it."""
        super().prepare_for_execution(worker_name, pipeline)
        if self.claimed:
            return
        self.attempt += 1
        pipeline.hincrby(self.key, Field.ATTEMPT, 1)
        pipeline.hdel(self.key, Field.PROGRESS)


def _is_fresh_of_rq(raw: Mapping[bytes, bytes]) -> bool:
    """Return whether RQ's own enqueue has written this hash, with none of RQ's special features."""
    return NEEDED <= {name for name, value in raw.items() if value} <= FRESH_OF_RQ


class ClaimedJob(RegisteredJob):
    """A job that a work-horse has claimed.

    Reading a job's whole hash takes longer than running a small job. So a fresh job reads only what a run needs,
    and the rest when code asks for an attribute that is not there yet: see `__getattr__`.
    """

    _hash: Mapping[bytes, bytes] | None
    is_fresh: bool

    @classmethod
    def of(cls, job_id: str, raw: Mapping[bytes, bytes], connection: Redis, worker_name: str) -> Self:
        """Return the claimed job; `raw` is its hash before the claim. Raises what a malformed hash causes."""
        job = cls.__new__(cls)
        job._id, job.connection, job._hash = job_id, connection, raw
        job.worker_name, job.claimed = worker_name, True
        job.is_fresh = (
            (raw.keys() in FRESH_OF_OURS or _is_fresh_of_rq(raw))
            and raw[b"status"] == b"queued"
            and len(raw[b"created_at"]) == len(raw[b"enqueued_at"]) == DATE_LENGTH
        )
        if not job.is_fresh:
            job._read_all()
            return job
        attempts, result_ttl = raw.get(b"tq:attempts"), raw.get(b"result_ttl")
        job.attempt, job.is_ours = 1, attempts is not None
        job.attempts = int(attempts or int(raw.get(b"retries_left", 0)) + 1)
        job.origin = raw[b"origin"].decode()
        job.timeout, job.result_ttl = int(raw[b"timeout"]), int(result_ttl) if result_ttl else None
        data = raw[b"data"]
        text = (data if data.startswith(b"[") else zlib.decompress(data)).decode()
        (job._func_name, job._instance, job._args, job._kwargs), end = _read_json(text)
        if end != len(text):
            raise ValueError("there is something behind the job's data")
        return job

    def __getattr__(self, name: str) -> Any:
        if self.__dict__.get("_hash") is None:
            raise AttributeError(f"a job has no {name!r}")
        self._read_all()
        return getattr(self, name)

    def _read_all(self) -> None:
        raw, self._hash = self._hash, None
        assert raw is not None  # noqa: S101  it is read once
        set_before = dict(self.__dict__)
        Job.__init__(self, self._id, self.connection, JSONSerializer)
        self.restore(raw)
        self.attempt += 1
        self.started_at = now()
        self._status = JobStatus.STARTED  # by the claim; a job that calls its own save() writes it
        self.__dict__.update(set_before)

    @property
    def func(self) -> Call:
        """The job type's function, as `RegisteredJob` finds it; a fresh job has no callbacks to check."""
        name = self._func_name if self.is_fresh and self._instance is None else None
        if isinstance(name, str) and name.startswith(CALL_PREFIX):
            return registered_call(name)
        return super().func

    @property
    def needs_rqs_code(self) -> bool:
        """Whether only RQ's own code can settle the job; never of a fresh job, which has none of RQ's features."""
        return not self.is_fresh and super().needs_rqs_code
