"""A task: one RQ job, as it is told to the outside."""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from rq.job import Job, JobStatus
from rq.results import Result
from typing_extensions import TypedDict

from taskqueue.jobtypes.names import job_type_name, registered_type
from taskqueue.jobtypes.signature import Json
from taskqueue.store.keys import STATUSES, Field, Status
from taskqueue.store.times import timestamp


class Progress(TypedDict):
    """How far a task is, as its job reported last; `at` is RFC 3339."""

    done: float
    total: float | None
    message: str
    at: str


@dataclass(frozen=True, kw_only=True)
class AttemptError:
    """How one attempt failed."""

    type: str  # "TimeoutError", "smtplib.SMTPConnectError"
    message: str
    at: datetime
    traceback: str
    worker: str | None


@dataclass(frozen=True, kw_only=True)
class Task:
    """A task as `GET /tasks/<id>` shows it. Times are aware datetimes in UTC."""

    id: str
    type: str
    status: Status
    queue: str
    payload: Json
    created_at: datetime
    started_at: datetime | None = None
    ended_at: datetime | None = None
    scheduled_for: datetime | None = None  # when a delayed task, or its next attempt, is due
    attempt: int = 0  # the attempt that runs or ran last; 0 before the first
    attempts: int = 1
    progress: Progress | None = None
    result: Json = None
    error: AttemptError | None = None  # why it failed; while it is tried again, the last attempt's
    errors: tuple[AttemptError, ...] = ()  # every failed attempt's, oldest first
    worker: str | None = None
    tags: tuple[str, ...] = ()
    depends_on: tuple[str, ...] = ()  # ids of tasks that must end first
    held_by_limit: bool = False  # it may not begin yet: see jobtypes/limits.py
    callbacks: tuple["Task", ...] = ()  # the jobs that tell its callback_url of its ends
    expires_at: datetime | None = None  # if it has not begun by then, it never does


def read_task(job: Job, stored: Mapping[bytes, bytes], results: Sequence[Result]) -> Task:
    """The task that an RQ job stands for: its hash is `stored`; `results` are newest first."""
    status = STATUSES[job.get_status(refresh=False)]
    # A requeued or retried job keeps the fields of its earlier run until the next one begins.
    waits = status in ("queued", "scheduled", "deferred")
    attempt = int(stored.get(Field.ATTEMPT.encode(), 0))
    latest = results[0] if results else None
    errors = tuple(_attempt_error(result) for result in reversed(results) if result.exc_string)
    progress = stored.get(Field.PROGRESS.encode())
    tags = stored.get(Field.TAGS.encode())
    expires_at = _moment(stored.get(Field.EXPIRES_AT.encode()))
    error = errors[-1] if errors and status not in ("complete", "canceled") else None
    if expires_at and (
        Field.EXPIRED.encode() in stored or (waits and not attempt and expires_at <= datetime.now(UTC))
    ):
        # So it is told even while its id stands in the queue, where the next worker will drop it.
        status, waits, error = "canceled", False, _expired(expires_at)
    succeeded = status == "complete" and latest is not None and latest.type is Result.Type.SUCCESSFUL
    return Task(
        id=job.id,
        type=_job_type(job),
        status=status,
        queue=job.origin,
        payload=_payload(job),
        created_at=job.created_at,
        started_at=None if waits and not attempt else job.started_at,
        ended_at=None if waits or status == "processing" else job.ended_at,
        attempt=attempt,
        attempts=max(int(stored.get(Field.ATTEMPTS.encode(), 1)), attempt),
        progress=json.loads(progress) if progress else None,
        result=latest.return_value if latest and succeeded else None,
        error=error,
        errors=errors,
        worker=None if waits else job.worker_name,
        tags=tuple(tags.decode().split(",")) if tags else (),
        depends_on=tuple(job._dependency_ids),
        held_by_limit=job.get_status(refresh=False) is JobStatus.RATE_LIMITED,
        expires_at=expires_at,
    )


def _moment(seconds: bytes | None) -> datetime | None:
    return datetime.fromtimestamp(float(seconds), UTC) if seconds else None


def _expired(at: datetime) -> AttemptError:
    """Why a task was dropped. No attempt has failed: none was made."""
    return AttemptError(
        type="Expired",
        message=f"It had not begun by {timestamp(at)}, when it expired (expires_in), and was dropped.",
        at=at,
        traceback="",
        worker=None,
    )


def _job_type(job: Job) -> str:
    try:
        return job_type_name(job.func_name or "")
    except Exception:  # noqa: BLE001  whatever another program wrote as the job's data, the view still answers
        return ""


def _payload(job: Job) -> Json:
    """The payload without its secrets; None where it is not known which they are: of a type that is not ours."""
    try:
        return registered_type(job.func_name or "").shown(dict(job.kwargs))
    except Exception:  # noqa: BLE001  as above
        return None


_ERROR_LINE = re.compile(r"^(?P<type>[^\W\d](?:[\w.]|<locals>)*)(?:: (?P<message>.*))?$", re.DOTALL)


def _attempt_error(result: Result) -> AttemptError:
    kind, message = error_of(result.exc_string or "")
    return AttemptError(
        type=kind,
        message=message,
        at=result.created_at,
        traceback=result.exc_string or "",
        worker=result.worker_name or None,
    )


def error_of(traceback: str) -> tuple[str, str]:
    """The type and message at the end of a formatted traceback.

    What RQ writes for a work-horse that died is no traceback, but one sentence: that is the message then.
    """
    lines = traceback.rstrip().splitlines()
    if lines and lines[-1].lstrip().startswith("+---"):  # the end of an exception group, whose own lines begin so:
        lines = [line.removeprefix("  | ") for line in lines if line.startswith("  | ")]
    frames = [number for number, line in enumerate(lines) if line.startswith('  File "')]
    after = frames[-1] + 1 if frames else 0
    while after < len(lines) and lines[after].startswith("  "):
        after += 1
    said = "\n".join(lines[after:])
    found = _ERROR_LINE.match(said)
    if found and (frames or found["message"] is not None):
        return found["type"], found["message"] or ""
    return ("Exception", said) if frames else ("WorkHorseTerminated", traceback.strip().rstrip(";"))
