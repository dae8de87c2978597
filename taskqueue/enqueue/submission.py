"""A task on its way to Redis: what enqueue.lua is given, and what it answers."""

import json
import zlib
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, Literal
from uuid import uuid4

from redis import Redis
from redis.client import Pipeline
from rq.job import JobStatus
from rq.utils import utcformat

from taskqueue.enqueue.idempotency import RECORD_SECONDS, IdempotencyKey
from taskqueue.enqueue.options import ORDINARY, SubmitOptions
from taskqueue.errors import (
    IdempotencyMismatch,
    InvalidPayload,
    PayloadError,
    StillProcessing,
    UnknownParent,
    UnknownQueue,
)
from taskqueue.jobtypes.names import function_name
from taskqueue.jobtypes.registry import JobType, system
from taskqueue.jobtypes.signature import Json
from taskqueue.settings import Settings
from taskqueue.store.keys import (
    INDEX,
    QUEUES,
    STATUSES,
    Field,
    dedupe_key,
    job_key,
    queue_key,
    tag_index_key,
    type_index_key,
)
from taskqueue.store.scripts import FastScript, Word
from taskqueue.store.times import EPOCH, MICROSECOND, microseconds
from taskqueue.store.transaction import packed
from taskqueue.tasks.task import Task
from taskqueue.telemetry.trace import current_trace

COMPRESSED_FROM_BYTES = 1024  # RQ reads a job's data compressed or plain; a small payload is better plain
CALLBACK_TYPE = "tq-callback"  # run/builtin/callback.py
DEDUPE_SECONDS = 30 * 86_400  # after the time at which it may begin

_encode = json.JSONEncoder(allow_nan=False).encode


@dataclass(frozen=True)
class Submission:
    """One call of enqueue.lua, and the task that it makes."""

    task: Task
    options: SubmitOptions
    keys: list[str]
    arguments: list[Word]


@dataclass(frozen=True)
class Accepted:
    """What became of a submission. Redis has acknowledged it."""

    task: Task
    outcome: Literal["new", "repeated", "duplicate"]
    blocked_by: str | None = None  # a task that it depends on, which has ended without success


class Submissions:
    """The enqueue script on a connection."""

    def __init__(self, connection: Redis, settings: Settings) -> None:
        self._settings = settings
        self._script = FastScript(connection, "enqueue")

    def prepare(
        self,
        job_type: JobType,
        payload: Json,
        options: SubmitOptions,
        *,
        idempotency: IdempotencyKey | None = None,
        held: bool = False,
        batch: str = "",
        created: datetime | None = None,
    ) -> Submission:
        """Validate one task. `held`: it waits until somebody releases it. `batch`: the key of a list to add it to.

        Raises `UnknownQueue`, `InvalidPayload`.
        """
        queue_name = self.queue_of(job_type, options)
        data = self.stored_data(job_type, payload)
        created = created or datetime.now(UTC)
        due = options.due(created)
        task = Task(
            id=str(uuid4()),
            type=job_type.name,
            status="scheduled" if due else "deferred" if held else "queued",
            queue=queue_name,
            payload=job_type.shown(payload),
            created_at=created,
            scheduled_for=due,
            expires_at=options.expires(created),
            attempts=options.attempts or job_type.attempts,
            depends_on=options.depends_on,
            tags=options.tags,
        )
        words = _words(task, options, idempotency)
        if held:
            words += ("held", 1)
        if batch:
            words += ("batch", batch)
        arguments: list[Word] = [task.id, microseconds(created), len(words), *words]
        for field, value in self.job_hash(task, job_type, options, data).items():
            arguments += (field, value)
        keys = [
            job_key(task.id),
            queue_key(queue_name),
            QUEUES,
            INDEX,
            type_index_key(task.type),
            *[tag_index_key(tag) for tag in task.tags],
        ]
        return Submission(task, options, keys, arguments)

    def send(self, submission: Submission, pipeline: Pipeline | None = None) -> Any:
        """Run the script, now or in a pipeline; `accepted` reads the answer."""
        if pipeline is not None:
            return self._script.registered(keys=submission.keys, args=submission.arguments, client=pipeline)
        return self._script(submission.keys, submission.arguments)

    @property
    def load(self) -> bytes:
        """The command that must be sent before it."""
        return packed("SCRIPT", "LOAD", self._script.registered.script)

    def command(self, submission: Submission) -> bytes:
        """The same as one packed command, for a transaction of many (taskqueue/transaction.py)."""
        keys = submission.keys
        return packed("EVALSHA", self._script.registered.sha, len(keys), *keys, *submission.arguments)

    def queue_of(self, job_type: JobType, options: SubmitOptions) -> str:
        """Where a task waits. Raises `UnknownQueue`."""
        name = options.queue or job_type.queue
        if name not in self._settings.queues:
            raise UnknownQueue(name, self._settings.queues)
        return name

    def stored_data(self, job_type: JobType, payload: Json) -> bytes:
        """RQ's data of a job, from a payload that fits. Raises `InvalidPayload`."""
        job_type.arguments(payload)
        try:
            data = job_data(job_type.name, payload)
        except ValueError:
            raise InvalidPayload(job_type.name, [PayloadError("", "A number in it is too large")]) from None
        return zlib.compress(data) if len(data) >= COMPRESSED_FROM_BYTES else data

    def job_hash(
        self, task: Task, job_type: JobType, options: SubmitOptions, data: bytes
    ) -> dict[str, str | bytes | int]:
        """The job's hash as `rq.job.Job.to_dict` writes it, without the fields that RQ may miss."""
        retries = task.attempts - 1
        created = utcformat(task.created_at)
        stored: dict[str, str | bytes | int] = {
            "created_at": created,
            "enqueued_at": created,
            "data": data,
            "origin": task.queue,
            "status": JobStatus.QUEUED.value,
            "description": job_type.name,  # RQ's own default repeats the arguments, in logs and on pages
            "timeout": options.timeout or job_type.timeout,
            "result_ttl": self._settings.result_ttl_seconds,
            "failure_ttl": self._settings.failure_ttl_seconds,
            "retries_left": retries,
            "retry_intervals": str(job_type.retry_delays.seconds(retries)),  # JSON, too: a list of whole numbers
            Field.ATTEMPTS: task.attempts,
        }
        trace = current_trace.get()
        if trace:
            stored[Field.TRACE] = trace.text()
        if job_type.limits:
            stored[Field.LIMITED] = job_type.name
        if task.tags:
            stored[Field.TAGS] = ",".join(task.tags)
        if task.expires_at:
            stored[Field.EXPIRES_AT] = f"{task.expires_at.timestamp():.3f}"
        if task.depends_on:
            stored["dependency_id"] = task.depends_on[0]
            stored["dependency_ids"] = json.dumps(task.depends_on)
            stored["allow_dependency_failures"] = int(options.allow_failure)
        if options.priority == "front":
            stored["enqueue_at_front"] = 1
        if options.callback_url:
            stored[Field.CALLBACK_URL] = options.callback_url
            stored[Field.CALLBACK] = json.dumps(self._callback_hash(task))
        return stored

    def _callback_hash(self, task: Task) -> dict[str, str]:
        """The hash of the job that will call the callback_url, but for its times; see scripts/callback.lua."""
        job_type = system[CALLBACK_TYPE]
        data = job_data(job_type.name, {"task_id": task.id})
        own = replace(task, attempts=job_type.attempts, tags=(), depends_on=(), expires_at=None)
        stored = self.job_hash(own, job_type, ORDINARY, data)
        del stored["created_at"], stored["enqueued_at"]
        return {name: value.decode() if isinstance(value, bytes) else str(value) for name, value in stored.items()}


def _words(task: Task, options: SubmitOptions, idempotency: IdempotencyKey | None) -> list[Word]:
    """What enqueue.lua is told besides the job's hash; nothing for the ordinary task."""
    words: list[Word] = []
    if task.scheduled_for:
        words += ("due", f"{task.scheduled_for.timestamp():.3f}")
    if options.priority == "front":
        words += ("front", 1)
    for parent in options.depends_on:
        words += ("parent", parent)
    if options.allow_failure:
        words += ("allow_failure", 1)
    if options.dedupe:
        until = (task.scheduled_for or task.created_at) - task.created_at
        words += ("dedupe", dedupe_key(task.type, options.dedupe))
        words += ("dedupe_seconds", DEDUPE_SECONDS + int(until.total_seconds()))
    if options.callback_url:
        words += ("callback", 1)
    if idempotency:
        words += ("record", idempotency.record, "fingerprint", idempotency.fingerprint)
        words += ("record_seconds", RECORD_SECONDS)
    return words


def accepted(submission: Submission, answer: list[bytes]) -> Accepted:
    """What enqueue.lua answered. A duplicate's task is not read: it has nothing but its id.

    Raises `UnknownParent`, `IdempotencyMismatch`, `StillProcessing`.
    """
    outcome, status, found, created, stalled = answer
    match outcome:
        case b"new" if status == b"queued":
            return Accepted(submission.task, "new")
        case b"new":
            task = replace(submission.task, status=STATUSES[JobStatus(status.decode())])
            return Accepted(task, "new", stalled.decode() or None)
        case b"repeated":
            return Accepted(_as_answered(submission, found, status, created), "repeated")
        case b"duplicate":
            return Accepted(replace(submission.task, id=found.decode()), "duplicate")
        case b"unknown":
            raise UnknownParent(found.decode())
        case b"processing":
            raise StillProcessing
    raise IdempotencyMismatch


def _as_answered(submission: Submission, found: bytes, status: bytes, created: bytes) -> Task:
    """The task as it was told when the same request came first."""
    created_at = EPOCH + int(created) * MICROSECOND
    return replace(
        submission.task,
        id=found.decode(),
        status=STATUSES[JobStatus(status.decode())],
        created_at=created_at,
        scheduled_for=submission.options.due(created_at),
        expires_at=submission.options.expires(created_at),
    )


def job_data(job_type: str, payload: Json) -> bytes:
    """RQ's data of a job: function, instance (never one here), positional and keyword arguments.

    Raises ValueError for a number that JSON cannot say (1e999 is read as infinity).
    """
    return _encode((function_name(job_type), None, (), payload)).encode()
