"""A task on its way to Redis: the arguments of enqueue.lua, and its answer."""

from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Literal, NamedTuple

from redis import Redis
from redis.client import Pipeline
from redis.exceptions import RedisError
from rq.job import JobStatus

from taskqueue.enqueue.enqueue_call import Alike, EnqueueCall
from taskqueue.enqueue.field_index import with_index
from taskqueue.enqueue.idempotency import RECORD_SECONDS, IdempotencyKey
from taskqueue.enqueue.job_fields import callback_fields, job_data, own_fields, payload_text
from taskqueue.enqueue.options import DEFAULT_OPTIONS, SubmitOptions
from taskqueue.enqueue.task_id import new_task_id
from taskqueue.errors import IdempotencyMismatch, RelayReplaced, StillProcessing, UnknownParent, UnknownQueue
from taskqueue.jobtypes.registry import JobType
from taskqueue.jobtypes.signature import Json
from taskqueue.settings import Settings
from taskqueue.store.connection import unavailable
from taskqueue.store.keys import (
    STATUSES,
    Field,
    Status,
    dedupe_key,
)
from taskqueue.store.scripts import FastScript, Word
from taskqueue.store.shared_connection import SharedConnection
from taskqueue.store.times import EPOCH, MICROSECOND, microseconds
from taskqueue.store.transaction import packed
from taskqueue.tasks.task import Task
from taskqueue.telemetry.spans import attribute
from taskqueue.telemetry.trace import current_sender, current_trace

DEDUPE_SECONDS = 30 * 86_400  # after the time at which the task may begin


class Submission(NamedTuple):
    """A validated task: the call of enqueue.lua that queues it, and what its submitter may ask about it."""

    id: str
    job_type: JobType
    payload: Json
    options: SubmitOptions
    queue: str
    status: Status
    created_at: datetime
    sent_by: str
    call: EnqueueCall

    @property
    def task(self) -> Task:
        """The task as its submitter sees it: made when it is asked for, so that Redis has the call sooner."""
        options = self.options
        return Task(
            id=self.id,
            type=self.job_type.name,
            status=self.status,
            queue=self.queue,
            payload=self.job_type.shown(self.payload),
            created_at=self.created_at,
            scheduled_for=options.due(self.created_at),
            expires_at=options.expires(self.created_at),
            attempts=options.attempts or self.job_type.attempts,
            depends_on=options.depends_on,
            tags=options.tags,
            sent_by=self.sent_by or None,
        )


@dataclass(frozen=True)
class Accepted:
    """The outcome of a submission that Redis has acknowledged."""

    task: Task
    outcome: Literal["new", "repeated", "duplicate"]
    blocked_by: str | None = None  # a task that it depends on, which has ended without success


class Submissions:
    """Prepares tasks and sends them to the enqueue script of one connection."""

    def __init__(self, connection: Redis, settings: Settings, shared: SharedConnection | None = None) -> None:
        self.settings = settings
        self._script = FastScript(connection, "enqueue", shared=shared)
        self._alike: dict[str, Alike] = {}  # plain tasks, by job type

    def prepare(
        self,
        job_type: JobType,
        payload: Json,
        options: SubmitOptions,
        *,
        idempotency: IdempotencyKey | None = None,
        deferred: bool = False,
        batch: str = "",
        completes: str = "",
        created: datetime | None = None,
        task_id: str = "",
        trace: str | None = None,
        relay: tuple[str, str] | None = None,
        text: str | None = None,
    ) -> Submission:
        """Validate a task, and return the call that queues it.

        `deferred`: the task waits until some code releases it. `batch`: the key of the list that the task's id is
        added to. `completes`: the id of the batch that the task is the on_complete of. `task_id`, `trace`: of a
        task that was submitted to an outbox earlier; `relay`: the key and the token of the lock of its relay.
        `text`: what `payload_text` returns for the payload, if the caller has it.
        Raises `UnknownQueue`, `InvalidPayload`.
        """
        queue = self.queue_of(job_type, options)
        data = checked_data(job_type, payload, text)
        if job_type.index:
            options = with_index(job_type, payload, options)
        created = created or datetime.now(UTC)
        task_id = task_id or new_task_id()
        sender = current_sender.get()
        trace = trace_text() if trace is None else trace
        fields = own_fields(job_type, options, data, created, trace, sender)
        status: Status = "deferred" if deferred else "queued"
        words: list[Word] = []
        if options is not DEFAULT_OPTIONS:
            if due := options.due(created):
                status = "scheduled"
            words += _script_options(job_type, options, created, due)
            if options.callback_url:
                fields |= callback_fields(task_id, options.callback_url, queue, created, self.settings, trace)
        if completes:
            fields[Field.BATCH] = completes
        if idempotency:
            words += ("record", idempotency.record, "fingerprint", idempotency.fingerprint)
            words += ("record_seconds", RECORD_SECONDS)
        if deferred:
            words += ("held", 1)
        if batch:
            words += ("batch", batch)
        if relay:
            words += ("relay", relay[0], "relay_token", relay[1])
        is_plain = options is DEFAULT_OPTIONS and not words
        alike = self._alike_of(job_type) if is_plain else Alike(job_type, options, queue, self.settings)
        call = EnqueueCall(task_id, microseconds(created), words, alike, fields, is_plain)
        return Submission(task_id, job_type, payload, options, queue, status, created, sender, call)

    def _alike_of(self, job_type: JobType) -> Alike:
        """Return what the plain tasks of a job type have in common, which is made once."""
        alike = self._alike.get(job_type.name)
        if alike is None or alike.job_type is not job_type:
            alike = Alike(job_type, DEFAULT_OPTIONS, job_type.queue, self.settings)
            self._alike[job_type.name] = alike
        return alike

    def submit(self, submission: Submission) -> Accepted:
        """Queue a task now, inside the span in which it was prepared.

        Raises what `accepted` raises; `QueueUnavailable` if Redis did not acknowledge the task.
        """
        return accepted(submission, self.send(submission))

    def send(self, submission: Submission) -> bytes | list[bytes]:
        """Run the script, and return its answer, which `accepted` reads. Raises `QueueUnavailable`."""
        attribute("task.id", submission.id)
        try:
            answer: bytes | list[bytes] = self._script(submission.call)
        except RedisError as error:
            raise unavailable(error, submission.id) from error
        return answer

    def add_to(self, pipeline: Pipeline, submission: Submission) -> None:
        """Run the script in a pipeline."""
        self._script.registered(keys=submission.call.keys, args=submission.call.arguments, client=pipeline)

    @property
    def load(self) -> bytes:
        """The command that loads the script; it must be sent before a `command`."""
        return packed("SCRIPT", "LOAD", self._script.registered.script)

    def command(self, submission: Submission) -> bytes:
        """Return the submission as one packed command, for a transaction of many (store/transaction.py)."""
        return submission.call.packed(self._script.registered.sha)

    def queue_of(self, job_type: JobType, options: SubmitOptions) -> str:
        """Return the name of the queue that a task will wait in. Raises `UnknownQueue`."""
        name = options.queue or job_type.queue
        if name not in self.settings.queues:
            raise UnknownQueue(name, self.settings.queues)
        return name


def checked_data(job_type: JobType, payload: Json, text: str | None = None) -> bytes:
    """Return RQ's data of a job whose payload fits its type; `text` is the payload's. Raises `InvalidPayload`."""
    job_type.arguments(payload)
    return job_data(job_type.name, text or payload_text(job_type.name, payload))


def trace_text() -> str:
    """Return the trace of the request that is being served, as a job's hash keeps it; "" outside a request."""
    trace = current_trace.get()
    return trace.text() if trace else ""


def _script_options(
    job_type: JobType,
    options: SubmitOptions,
    created: datetime,
    due: datetime | None,
) -> list[Word]:
    """Return a task's options as those of enqueue.lua, name by name with their values."""
    words: list[Word] = []
    if due:
        words += ("due", f"{due.timestamp():.3f}")
    if options.priority == "front":
        words += ("front", 1)
    for parent in options.depends_on:
        words += ("parent", parent)
    if options.allow_failure:
        words += ("allow_failure", 1)
    if options.dedupe:
        until = (due or created) - created
        words += ("dedupe", dedupe_key(job_type.name, options.dedupe))
        words += ("dedupe_seconds", DEDUPE_SECONDS + int(until.total_seconds()))
    if options.callback_url:
        words += ("callback", 1)
    return words


def accepted_id(submission: Submission, answer: bytes | list[bytes]) -> str:
    """Return the id of the task that enqueue.lua has answered. Raises what `accepted` raises."""
    return submission.id if answer == b"queued" else accepted(submission, answer).task.id


def accepted(submission: Submission, answer: bytes | list[bytes]) -> Accepted:
    """Read the answer of enqueue.lua. Of a duplicate's task only the id is known.

    Raises `UnknownParent`, `IdempotencyMismatch`, `StillProcessing`, `RelayReplaced`.
    """
    if answer == b"queued":
        return Accepted(submission.task, "new")
    if isinstance(answer, bytes):
        return Accepted(_with_status(submission.task, answer), "new")
    outcome, status, task_id, created, blocked_by = answer
    match outcome:
        case b"new":
            return Accepted(_with_status(submission.task, status), "new", blocked_by.decode())
        case b"repeated":
            return Accepted(_as_first_answered(submission, task_id, status, created), "repeated")
        case b"duplicate":
            return Accepted(replace(submission.task, id=task_id.decode()), "duplicate")
        case b"unknown":
            raise UnknownParent(task_id.decode())
        case b"processing":
            raise StillProcessing
        case b"lost":
            raise RelayReplaced
    raise IdempotencyMismatch


def _with_status(task: Task, status: bytes) -> Task:
    return replace(task, status=STATUSES[JobStatus(status.decode())])


def _as_first_answered(submission: Submission, task_id: bytes, status: bytes, created: bytes) -> Task:
    """Return the task as it was answered when the first request with this idempotency key came."""
    created_at = EPOCH + int(created) * MICROSECOND
    return replace(
        _with_status(submission.task, status),
        id=task_id.decode(),
        created_at=created_at,
        scheduled_for=submission.options.due(created_at),
        expires_at=submission.options.expires(created_at),
    )
