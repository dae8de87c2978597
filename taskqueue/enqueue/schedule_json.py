"""A schedule as JSON: the answer of `GET /schedules/<name>`; and the errors of one that is not valid."""

from datetime import UTC, datetime
from typing import Literal

from pydantic import ValidationError
from typing_extensions import TypedDict

from taskqueue.enqueue.schedule_store import StoredSchedule
from taskqueue.errors import PayloadError
from taskqueue.jobtypes.signature import Json, option_errors
from taskqueue.store.times import timestamp

NEXT_RUNS = 5  # shown for a schedule


class LastRunJson(TypedDict):
    """The last task that a schedule queued; `task` is its id."""

    at: str | None
    task: str


class ScheduleJson(TypedDict):
    """A schedule, its next runs and its last run."""

    name: str
    task_type: str
    payload: Json
    interval: int | None
    cron: str | None
    timezone: str
    overlap: Literal["skip", "queue", "replace"]
    catch_up: Literal["skip", "once", "all"]
    queue: str | None
    priority: Literal["front"] | None
    attempts: int | None
    timeout: int | None
    expires_in: float | None
    tags: list[str]
    callback_url: str | None
    paused: bool
    next_runs: list[str | None]
    last_run: LastRunJson | None
    runs: int
    skipped: int
    error: str | None
    created_at: str | None
    updated_at: str | None


def schedule_json(stored: StoredSchedule, payload: Json) -> ScheduleJson:
    """Return a schedule with this payload, whose secrets are masked."""
    schedule = stored.schedule
    now = max(datetime.now(UTC), stored.updated_at)
    runs = [] if stored.paused else schedule.next_times(now, stored.updated_at, NEXT_RUNS)
    return {
        "name": stored.name,
        "task_type": schedule.task_type,
        "payload": payload,
        "interval": schedule.interval,
        "cron": schedule.cron,
        "timezone": schedule.timezone,
        "overlap": schedule.overlap,
        "catch_up": schedule.catch_up,
        "queue": schedule.queue,
        "priority": schedule.priority,
        "attempts": schedule.attempts,
        "timeout": schedule.timeout,
        "expires_in": schedule.expires_in,
        "tags": list(schedule.tags),
        "callback_url": schedule.callback_url,
        "paused": stored.paused,
        "next_runs": [timestamp(run) for run in runs],
        "last_run": {"at": timestamp(stored.last_run), "task": stored.last_task} if stored.last_task else None,
        "runs": stored.runs,
        "skipped": stored.skipped,
        "error": stored.error,
        "created_at": timestamp(stored.created_at),
        "updated_at": timestamp(stored.updated_at),
    }


def schedule_errors(error: ValidationError) -> tuple[list[PayloadError], str]:
    """Return the errors of a schedule that is not valid, with pointers into its document, and a sentence."""
    errors = option_errors(error)
    return errors, "; ".join(f"{each.pointer or 'the schedule'}: {each.message}" for each in errors)
