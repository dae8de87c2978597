"""A task: an RQ job as clients see it."""

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
from taskqueue.store.keys import STATUSES, Field, Status, decoded
from taskqueue.store.times import time_at, timestamp
from taskqueue.tasks.runs import LastRun, Run, stored_run


class ProgressJson(TypedDict):
    """How far a task is, as its job reported it last."""

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
    scheduled_for: datetime | None = None  # when it, or its next attempt, is due
    attempt: int = 0  # the number of the attempt that runs or ran last; 0 before the first
    attempts: int = 1
    progress: ProgressJson | None = None
    result: Json = None
    error: AttemptError | None = None  # why it failed; between attempts, that of the last one
    reason: str | None = None  # why it failed or was stopped: a ReasonCode, or None if no worker of ours wrote one
    errors: tuple[AttemptError, ...] = ()  # of each failed attempt, oldest first
    worker: str | None = None
    tags: tuple[str, ...] = ()
    depends_on: tuple[str, ...] = ()  # ids of tasks that must end first
    held_by_limit: bool = False  # a limit of its type does not let it begin yet: jobtypes/limits.py
    callbacks: tuple["Task", ...] = ()  # the tasks that call its callback_url, one for each end
    expires_at: datetime | None = None  # if it has not begun by then, it never does
    sent_by: str | None = None  # the name of the API key, or of the person at the command line
    runs: tuple[Run, ...] = ()  # the latest ones, oldest first


def read_task(
    job: Job,
    stored: Mapping[bytes, bytes],
    results: Sequence[Result],
    entries: Sequence[Mapping[bytes, bytes]] = (),
) -> Task:
    """Return the task of an RQ job whose hash is `stored`; `results` are newest first.

    `entries`: what the results were read from; without them the task has no `runs`.
    """
    status = STATUSES[job.get_status(refresh=False)]
    # A requeued or retried job has the fields of its earlier run until the next one begins.
    waits = status in ("queued", "scheduled", "deferred")
    attempt = int(stored.get(Field.ATTEMPT.encode(), 0))
    latest = results[0] if results else None
    errors = tuple(_attempt_error(result) for result in reversed(results) if result.exc_string)
    progress = stored.get(Field.PROGRESS.encode())
    reason = stored.get(Field.REASON.encode()) if status in ("failed", "canceled") else None
    tags = stored.get(Field.TAGS.encode())
    expires_at = time_at(stored.get(Field.EXPIRES_AT.encode()))
    error = errors[-1] if errors and status not in ("complete", "canceled") else None
    if expires_at and (
        Field.EXPIRED.encode() in stored or (waits and not attempt and expires_at <= datetime.now(UTC))
    ):
        # It is canceled for clients even while its id is in the queue, from which the next worker will drop it.
        status, waits, error = "canceled", False, _expired(expires_at)
    by = stored.get(Field.BY.encode())
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
        reason=reason.decode() if reason else None,
        errors=errors,
        worker=None if waits else job.worker_name,
        tags=tuple(tags.decode().split(",")) if tags else (),
        depends_on=tuple(job._dependency_ids),
        held_by_limit=job.get_status(refresh=False) is JobStatus.RATE_LIMITED,
        expires_at=expires_at,
        sent_by=decoded(by) if by else None,
        runs=_runs(job, stored, status, attempt, list(zip(results, entries, strict=False))),
    )


def _runs(
    job: Job,
    stored: Mapping[bytes, bytes],
    status: Status,
    attempt: int,
    entries: Sequence[tuple[Result, Mapping[bytes, bytes]]],
) -> tuple[Run, ...]:
    last = LastRun.of(stored, attempt, status, (job.started_at, job.ended_at))
    runs = [
        stored_run(result, raw, error_of(result.exc_string) if result.exc_string else ("", ""), last)
        for result, raw in reversed(entries)
    ]
    more = last.run(runs)
    return (*runs, more) if more else tuple(runs)


def _expired(at: datetime) -> AttemptError:
    """Return the error of a task that expired. It is not the error of an attempt: none was made."""
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
    except Exception:  # noqa: BLE001  another program may have written any data; the task can still be shown
        return ""


def _payload(job: Job) -> Json:
    """Return the payload without its secrets; None for an unknown type, whose secrets are not known either."""
    try:
        return registered_type(job.func_name or "").shown(dict(job.kwargs))
    except Exception:  # noqa: BLE001  another program may have written any data; the task can still be shown
        return None


_ERROR_LINE = re.compile(r"^(?P<type>[^\W\d](?:[\w.]|<locals>)*)(?:: (?P<message>.*))?$", re.DOTALL)


def _attempt_error(result: Result) -> AttemptError:
    error_type, message = error_of(result.exc_string or "")
    return AttemptError(
        type=error_type,
        message=message,
        at=result.created_at,
        traceback=result.exc_string or "",
        worker=result.worker_name or None,
    )


def error_of(traceback: str) -> tuple[str, str]:
    """Return the type and the message of the error at the end of a formatted traceback.

    For a work-horse that died, RQ writes one sentence instead of a traceback: it is returned as the message.
    """
    lines = traceback.rstrip().splitlines()
    if lines and lines[-1].lstrip().startswith("+---"):  # the end of an exception group: "  | " begins its lines
        lines = [line.removeprefix("  | ") for line in lines if line.startswith("  | ")]
    frames = [number for number, line in enumerate(lines) if line.startswith('  File "')]
    after = frames[-1] + 1 if frames else 0
    while after < len(lines) and lines[after].startswith("  "):
        after += 1
    last_lines = "\n".join(lines[after:])
    error = _ERROR_LINE.match(last_lines)
    if error and (frames or error["message"] is not None):
        return error["type"], error["message"] or ""
    return ("Exception", last_lines) if frames else ("WorkHorseTerminated", traceback.strip().rstrip(";"))
