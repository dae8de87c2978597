"""`/schedules`: tasks that are queued again and again, at an interval or by the clock."""

from datetime import UTC, datetime
from typing import Literal

from flask import Blueprint, jsonify, url_for
from flask.typing import ResponseReturnValue
from pydantic import ValidationError
from typing_extensions import TypedDict

from taskqueue.enqueue.schedule import Schedule
from taskqueue.enqueue.schedule_store import Schedules, StoredSchedule, shown_payload
from taskqueue.errors import UnknownSchedule
from taskqueue.jobtypes.registry import JobTypes
from taskqueue.jobtypes.signature import Json
from taskqueue.store.times import timestamp
from taskqueue.tasks.task_json import TaskJson, task_json
from taskqueue.web.http.access import caller_sees, check_may_submit
from taskqueue.web.http.body import json_body
from taskqueue.web.http.endpoint import endpoint
from taskqueue.web.http.problems import BadRequest

MAX_SCHEDULE_BYTES = 64 * 1024  # kept for ever, and read each time: a large payload belongs in a file
NEXT_RUNS = 5  # told of one schedule


class LastRunJson(TypedDict):
    """The task that it queued last: `GET /tasks/<task>` tells how it went."""

    at: str | None
    task: str


class ScheduleJson(TypedDict):
    """A schedule, and how it goes."""

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
    """The views of `/schedules`."""
    blueprint = Blueprint("schedules", __name__)

    def told(kept: StoredSchedule) -> ScheduleJson:
        return _schedule_json(kept, shown_payload(job_types, kept.schedule))

    def seen(name: str) -> StoredSchedule:
        """The schedule, if it is the caller's business."""
        kept = schedules.get(name)
        if not caller_sees(kept.schedule.task_type):
            raise UnknownSchedule(name)
        return kept

    @blueprint.get("/schedules")
    @endpoint("List the schedules", scope="read", answers={200: SchedulesJson}, problems=(503,), by_type=True)
    def every() -> ResponseReturnValue:
        """By name, 1,000 at the most."""
        return jsonify(
            {"schedules": [told(kept) for kept in schedules.all() if caller_sees(kept.schedule.task_type)]}
        )

    @blueprint.put("/schedules/<name>")
    @endpoint(
        "Keep a schedule",
        scope="operate",
        body=Schedule,
        answers={200: ScheduleJson, 201: ScheduleJson},
        problems=(400, 403, 409, 413, 415, 422, 503),
        by_type=True,
    )
    def put(name: str) -> ResponseReturnValue:
        """The same schedule again changes nothing: its next run stays."""
        schedule = _schedule(json_body(MAX_SCHEDULE_BYTES))
        check_may_submit(schedule.task_type)
        if before := schedules.find(name):
            check_may_submit(before.schedule.task_type)  # nobody takes a name that is somebody else's
        kept, is_new = schedules.put(name, schedule)
        return jsonify(told(kept)), 201 if is_new else 200, {"Location": url_for("schedules.get", name=name)}

    @blueprint.get("/schedules/<name>")
    @endpoint("Show a schedule", scope="read", answers={200: ScheduleJson}, problems=(404, 503), by_type=True)
    def get(name: str) -> ResponseReturnValue:
        """With its last and its next runs."""
        return jsonify(told(seen(name)))

    @blueprint.delete("/schedules/<name>")
    @endpoint("Delete a schedule", scope="operate", answers={204: None}, problems=(404, 503), by_type=True)
    def delete(name: str) -> ResponseReturnValue:
        """Tasks that it has queued stay."""
        schedules.delete(seen(name).name)
        return "", 204

    @blueprint.post("/schedules/<name>/run")
    @endpoint(
        "Run a schedule now", scope="operate", answers={202: TaskJson}, problems=(404, 422, 503), by_type=True
    )
    def run(name: str) -> ResponseReturnValue:
        """Besides its times, whether it is paused or not."""
        task = schedules.run(seen(name).name)
        return jsonify(task_json(task)), 202, {"Location": url_for("tasks.get", task_id=task.id)}

    @blueprint.post("/schedules/<name>/pause")
    @endpoint("Pause a schedule", scope="operate", answers={200: ScheduleJson}, problems=(404, 503), by_type=True)
    def pause(name: str) -> ResponseReturnValue:
        """It runs no more, until it is resumed."""
        return jsonify(told(schedules.pause(seen(name).name)))

    @blueprint.post("/schedules/<name>/resume")
    @endpoint("Resume a schedule", scope="operate", answers={200: ScheduleJson}, problems=(404, 503), by_type=True)
    def resume(name: str) -> ResponseReturnValue:
        """What was due while it was paused is not made up for."""
        return jsonify(told(schedules.resume(seen(name).name)))

    return blueprint


def _schedule(body: Json) -> Schedule:
    try:
        return Schedule.model_validate(body)
    except ValidationError as error:
        found = error.errors(include_url=False, include_context=False, include_input=False)
    errors = [
        {
            "pointer": "".join(f"/{part}" for part in one["loc"]),
            "message": one["msg"].removeprefix("Value error, "),
        }
        for one in found
    ]
    detail = "; ".join(f"{one['pointer'] or 'the schedule'}: {one['message']}" for one in errors)
    raise BadRequest(422, "invalid-schedule", "The schedule is wrong", detail, errors=errors)


def _schedule_json(kept: StoredSchedule, payload: Json) -> ScheduleJson:
    schedule = kept.schedule
    now = max(datetime.now(UTC), kept.updated_at)
    runs = [] if kept.paused else schedule.next_times(now, kept.updated_at, NEXT_RUNS)
    return {
        "name": kept.name,
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
        "paused": kept.paused,
        "next_runs": [timestamp(moment) for moment in runs],
        "last_run": {"at": timestamp(kept.last_run), "task": kept.last_task} if kept.last_task else None,
        "runs": kept.runs,
        "skipped": kept.skipped,
        "error": kept.error,
        "created_at": timestamp(kept.created_at),
        "updated_at": timestamp(kept.updated_at),
    }
