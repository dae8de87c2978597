"""`/schedules`: tasks that are queued again and again, at an interval or by a cron expression."""

from datetime import UTC, datetime
from typing import Literal
from urllib.parse import urlsplit

from flask import Blueprint, jsonify, url_for
from flask.typing import ResponseReturnValue
from pydantic import ValidationError
from typing_extensions import TypedDict

from taskqueue.enqueue.schedule import Schedule
from taskqueue.enqueue.schedule_store import Schedules, StoredSchedule, shown_payload
from taskqueue.errors import UnknownSchedule
from taskqueue.jobtypes.masking import MASK
from taskqueue.jobtypes.registry import JobTypes
from taskqueue.jobtypes.signature import Json
from taskqueue.store.times import timestamp
from taskqueue.tasks.task_json import TaskJson, task_json
from taskqueue.web.http.access import caller, caller_sees, caller_types, check_may_submit
from taskqueue.web.http.body import json_body
from taskqueue.web.http.change_record import note_task_type
from taskqueue.web.http.endpoint import endpoint
from taskqueue.web.http.problems import BadRequest

MAX_SCHEDULE_BYTES = 64 * 1024  # kept for ever and read at each run: a large payload belongs in a file
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


class SchedulesJson(TypedDict):
    """All schedules, by name."""

    schedules: list[ScheduleJson]


def views(schedules: Schedules, job_types: JobTypes) -> Blueprint:
    """Return the views of `/schedules`."""
    blueprint = Blueprint("schedules", __name__)

    def shown(stored: StoredSchedule) -> ScheduleJson:
        return _schedule_json(stored, shown_payload(job_types, stored.schedule))

    def find(name: str) -> StoredSchedule:
        """Return the schedule, if the caller may see its task type. Raises `UnknownSchedule`."""
        stored = schedules.get(name)
        if not caller_sees(stored.schedule.task_type):
            raise UnknownSchedule(name)
        note_task_type(stored.schedule.task_type)
        return stored

    @blueprint.get("/schedules")
    @endpoint("List the schedules", scope="read", answers={200: SchedulesJson}, problems=(503,), by_type=True)
    def every() -> ResponseReturnValue:
        """The answer has all schedules, by name: at most 1,000."""
        return jsonify(
            {"schedules": [shown(stored) for stored in schedules.all() if caller_sees(stored.schedule.task_type)]}
        )

    @blueprint.put("/schedules/<name>")
    @endpoint(
        "Create or replace a schedule",
        scope="operate",
        change="schedule-stored",
        body=Schedule,
        answers={200: ScheduleJson, 201: ScheduleJson},
        problems=(400, 403, 409, 413, 415, 422, 503),
        by_type=True,
    )
    def put(name: str) -> ResponseReturnValue:
        """A schedule that is sent again unchanged keeps its next run."""
        schedule = _schedule(json_body(MAX_SCHEDULE_BYTES))
        check_may_submit(schedule.task_type)
        if before := schedules.find(name):  # a key does not replace schedules of types that it is not for
            check_may_submit(before.schedule.task_type)
        note_task_type(schedule.task_type)
        stored, is_new = schedules.put(name, schedule)
        return jsonify(shown(stored)), 201 if is_new else 200, {"Location": url_for("schedules.get", name=name)}

    @blueprint.get("/schedules/<name>")
    @endpoint("Get a schedule", scope="read", answers={200: ScheduleJson}, problems=(404, 503), by_type=True)
    def get(name: str) -> ResponseReturnValue:
        """The answer has the schedule's last run and its next runs."""
        return jsonify(shown(find(name)))

    @blueprint.delete("/schedules/<name>")
    @endpoint(
        "Delete a schedule",
        scope="operate",
        change="schedule-deleted",
        answers={204: None},
        problems=(404, 503),
        by_type=True,
    )
    def delete(name: str) -> ResponseReturnValue:
        """Tasks that the schedule has queued stay."""
        if caller_types() is not None:
            find(name)  # raises for a schedule of another type
        schedules.delete(name)
        return "", 204

    @blueprint.post("/schedules/<name>/run")
    @endpoint(
        "Run a schedule now",
        scope="operate",
        change="schedule-run",
        answers={202: TaskJson},
        problems=(404, 422, 503),
        by_type=True,
    )
    def run(name: str) -> ResponseReturnValue:
        """Queue the schedule's task now, also while the schedule is paused. Its next runs stay."""
        task = schedules.run(find(name).name)
        return jsonify(task_json(task)), 202, {"Location": url_for("tasks.get", task_id=task.id)}

    @blueprint.post("/schedules/<name>/pause")
    @endpoint(
        "Pause a schedule",
        scope="operate",
        change="schedule-paused",
        answers={200: ScheduleJson},
        problems=(404, 503),
        by_type=True,
    )
    def pause(name: str) -> ResponseReturnValue:
        """Stop a schedule from running until it is resumed."""
        return jsonify(shown(schedules.pause(find(name).name)))

    @blueprint.post("/schedules/<name>/resume")
    @endpoint(
        "Resume a schedule",
        scope="operate",
        change="schedule-resumed",
        answers={200: ScheduleJson},
        problems=(404, 503),
        by_type=True,
    )
    def resume(name: str) -> ResponseReturnValue:
        """Let a paused schedule run again. Runs that were due during the pause are not caught up."""
        return jsonify(shown(schedules.resume(find(name).name)))

    return blueprint


def _schedule(body: Json) -> Schedule:
    try:
        return Schedule.model_validate(body)
    except ValidationError as error:
        errors = error.errors(include_url=False, include_context=False, include_input=False)
    wrong = [
        {
            "pointer": "".join(f"/{part}" for part in each["loc"]),
            "message": each["msg"].removeprefix("Value error, "),
        }
        for each in errors
    ]
    detail = "; ".join(f"{each['pointer'] or 'the schedule'}: {each['message']}" for each in wrong)
    raise BadRequest(422, "invalid-schedule", "The schedule is not valid", detail, errors=wrong)


def _schedule_json(stored: StoredSchedule, payload: Json) -> ScheduleJson:
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
        "callback_url": _shown_url(schedule.callback_url),
        "paused": stored.paused,
        "next_runs": [timestamp(run) for run in runs],
        "last_run": {"at": timestamp(stored.last_run), "task": stored.last_task} if stored.last_task else None,
        "runs": stored.runs,
        "skipped": stored.skipped,
        "error": stored.error,
        "created_at": timestamp(stored.created_at),
        "updated_at": timestamp(stored.updated_at),
    }


def _shown_url(url: str | None) -> str | None:
    """Return a callback's URL; only its host if the caller may not change schedules: the rest may be a secret."""
    key = caller()
    if url is None or key is None or key.may("operate"):
        return url
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}/{MASK}"
