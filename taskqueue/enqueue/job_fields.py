"""The stored fields of a job: the hash that a task has in Redis, made from what was submitted.

This is the only place that lists them. The worker's fast path (worker/job.py) knows a plain task by PLAIN_FIELDS.
"""

import json
import zlib
from datetime import datetime

from rq.job import JobStatus

from taskqueue.enqueue.options import DEFAULT_OPTIONS, SubmitOptions
from taskqueue.errors import InvalidPayload, PayloadError
from taskqueue.jobtypes.json_text import encode
from taskqueue.jobtypes.names import function_name
from taskqueue.jobtypes.registry import JobType, system
from taskqueue.jobtypes.signature import Json
from taskqueue.settings import Settings
from taskqueue.store.keys import Field
from taskqueue.store.times import rq_time

QUEUED = JobStatus.QUEUED.value
CALLBACK_TYPE = "tq-callback"  # run/builtin/callback.py
COMPRESSED_FROM_BYTES = 1024  # RQ reads a job's data compressed or plain; a small payload is better plain

Fields = dict[str, str | bytes | int]


def job_fields(
    job_type: JobType,
    options: SubmitOptions,
    data: bytes,
    created: datetime,
    settings: Settings,
    trace: str = "",
    sent_by: str = "",
) -> Fields:
    """Return the hash of a task's job, as `rq.job.Job.to_dict` writes it, without the fields that RQ may miss.

    `data` is what `job_data` returns; `trace` is that of the request, if a request submits the task, and
    `sent_by` the name of its key. The retry intervals are partly chance; all else follows from the arguments.
    """
    shared = shared_fields(job_type, options, settings)
    return shared | own_fields(job_type, options, data, created, trace, sent_by)


def shared_fields(job_type: JobType, options: SubmitOptions, settings: Settings) -> Fields:
    """Return the fields that all tasks of a job type have in common, as far as their options are the same."""
    attempts = options.attempts or job_type.attempts
    fields: Fields = {
        "origin": options.queue or job_type.queue,
        "status": QUEUED,
        "description": job_type.name,  # RQ's own default repeats the arguments, in logs and on pages
        "timeout": options.timeout or job_type.timeout,
        "result_ttl": settings.result_ttl_seconds,
        "failure_ttl": settings.failure_ttl_seconds,
        "retries_left": attempts - 1,
        Field.ATTEMPTS: attempts,
    }
    if job_type.limits:
        fields[Field.LIMITED] = job_type.name
    return fields


def own_fields(
    job_type: JobType, options: SubmitOptions, data: bytes, created: datetime, trace: str, sent_by: str
) -> Fields:
    """Return the fields of a task's job that no other one has, or not all."""
    time = rq_time(created)
    retries = (options.attempts or job_type.attempts) - 1
    fields: Fields = {
        "created_at": time,
        "enqueued_at": time,
        "data": data,
        "retry_intervals": str(job_type.retry_delays.seconds(retries)),  # this is JSON, too
    }
    if trace:
        fields[Field.TRACE] = trace
    if sent_by:
        fields[Field.BY] = sent_by
    if options is not DEFAULT_OPTIONS:
        _add_options(fields, options, created)
    return fields


PLAIN_FIELDS = frozenset(
    [
        *("created_at", "enqueued_at", "data", "origin", "status", "description", "timeout"),
        *("result_ttl", "failure_ttl", "retries_left", "retry_intervals", Field.ATTEMPTS),
    ]
)
"""The names of the fields of a plain task: one without options, of a job type without limits, without a trace."""


def _add_options(fields: Fields, options: SubmitOptions, created: datetime) -> None:
    if options.tags:
        fields[Field.TAGS] = ",".join(options.tags)
    expires_at = options.expires(created)
    if expires_at:
        fields[Field.EXPIRES_AT] = f"{expires_at.timestamp():.3f}"
    if options.depends_on:
        fields["dependency_id"] = options.depends_on[0]
        fields["dependency_ids"] = json.dumps(options.depends_on)
        fields["allow_dependency_failures"] = int(options.allow_failure)
    if options.priority == "front":
        fields["enqueue_at_front"] = 1


def callback_fields(
    task_id: str, url: str, queue: str, created: datetime, settings: Settings, trace: str = ""
) -> Fields:
    """Return the fields of a task that has a callback_url.

    One of them holds the hash of the job that will call the URL, but for its times: store/lua/callback.lua adds
    them. That job waits in the queue of its task.
    """
    job_type = system[CALLBACK_TYPE]
    options = DEFAULT_OPTIONS.model_copy(update={"queue": queue})
    data = job_data(job_type.name, payload_text(job_type.name, {"task_id": task_id}))
    fields = job_fields(job_type, options, data, created, settings, trace)
    del fields["created_at"], fields["enqueued_at"]
    texts = {name: value.decode() if isinstance(value, bytes) else str(value) for name, value in fields.items()}
    return {Field.CALLBACK_URL: url, Field.CALLBACK: json.dumps(texts)}


def payload_text(job_type: str, payload: Json) -> str:
    """Return a payload as the JSON text that is stored.

    Raises `InvalidPayload` for a number that JSON cannot express (1e999 is read as infinity), and for values that
    are nested too deeply.
    """
    try:
        return encode(payload)
    except ValueError:
        message = "A number in it is too large"
    except RecursionError:
        message = "It is nested too deeply"
    raise InvalidPayload(job_type, [PayloadError("", message)])


def job_data(job_type: str, payload: str) -> bytes:
    """Return RQ's data of a job: function, instance (always null here), positional and keyword arguments.

    `payload`: the keyword arguments, what `payload_text` returns.
    """
    data = f'["{function_name(job_type)}", null, [], {payload}]'.encode()
    return zlib.compress(data) if len(data) >= COMPRESSED_FROM_BYTES else data
