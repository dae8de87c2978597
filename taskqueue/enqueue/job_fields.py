"""The stored fields of a job: the hash that a task has in Redis, made from what was submitted.

This is the only place that lists them. The worker's fast path (worker/job.py) knows a plain task by PLAIN_FIELDS.
"""

import json
import zlib
from collections.abc import Sequence
from datetime import datetime

from rq.job import JobStatus

from taskqueue.enqueue.options import DEFAULT_OPTIONS, SubmitOptions
from taskqueue.errors import InvalidPayload, PayloadError
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

encode = json.JSONEncoder(allow_nan=False).encode
"""Return JSON as it is stored: ASCII, and no NaN."""


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
    attempts = options.attempts or job_type.attempts
    fields = _plain_fields(
        name=job_type.name,
        queue=options.queue or job_type.queue,
        data=data,
        created=rq_time(created),
        timeout=options.timeout or job_type.timeout,
        attempts=attempts,
        retry_intervals=job_type.retry_delays.seconds(attempts - 1),
        settings=settings,
    )
    if trace:
        fields[Field.TRACE] = trace
    if sent_by:
        fields[Field.BY] = sent_by
    if job_type.limits:
        fields[Field.LIMITED] = job_type.name
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
    return fields


def _plain_fields(
    *,
    name: str,
    queue: str,
    data: bytes,
    created: str,
    timeout: int,
    attempts: int,
    retry_intervals: Sequence[int],
    settings: Settings,
) -> Fields:
    """Return the fields that every job has."""
    return {
        "created_at": created,
        "enqueued_at": created,
        "data": data,
        "origin": queue,
        "status": QUEUED,
        "description": name,  # RQ's own default repeats the arguments, in logs and on pages
        "timeout": timeout,
        "result_ttl": settings.result_ttl_seconds,
        "failure_ttl": settings.failure_ttl_seconds,
        "retries_left": attempts - 1,
        "retry_intervals": str(retry_intervals),  # this is JSON, too: a list of whole numbers
        Field.ATTEMPTS: attempts,
    }


PLAIN_FIELDS = frozenset(
    _plain_fields(
        name="", queue="", data=b"", created="", timeout=0, attempts=1, retry_intervals=[], settings=Settings()
    )
)
"""The names of the fields of a plain task: one without options, of a job type without limits, without a trace."""


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

    Raises `InvalidPayload` for a number that JSON cannot express (1e999 is read as infinity).
    """
    try:
        return encode(payload)
    except ValueError:
        raise InvalidPayload(job_type, [PayloadError("", "A number in it is too large")]) from None


def job_data(job_type: str, payload: str) -> bytes:
    """Return RQ's data of a job: function, instance (always null here), positional and keyword arguments.

    `payload`: the keyword arguments, what `payload_text` returns.
    """
    data = f'["{function_name(job_type)}", null, [], {payload}]'.encode()
    return zlib.compress(data) if len(data) >= COMPRESSED_FROM_BYTES else data
