"""`/schedules`: tasks that are queued again and again, at an interval or by a cron expression."""

from functools import partial
from urllib.parse import urlsplit

from flask import Blueprint, jsonify, url_for
from flask.typing import ResponseReturnValue
from pydantic import ValidationError
from typing_extensions import TypedDict

from taskqueue.enqueue.schedule import Schedule
from taskqueue.enqueue.schedule_json import ScheduleJson, schedule_errors, schedule_json
from taskqueue.enqueue.schedule_store import Schedules, StoredSchedule, shown_payload
from taskqueue.errors import TaskQueueError, UnknownSchedule
from taskqueue.jobtypes.masking import MASK
from taskqueue.jobtypes.registry import JobTypes
from taskqueue.jobtypes.signature import Json
from taskqueue.tasks.task_json import TaskJson, task_json
from taskqueue.web.http.access import caller, caller_sees, caller_types, check_may_submit
from taskqueue.web.http.body import json_body
from taskqueue.web.http.change_record import note_task_type
from taskqueue.web.http.endpoint import endpoint
from taskqueue.web.http.problems import BadRequest

MAX_SCHEDULE_BYTES = 64 * 1024  # kept for ever and read at each run: a large payload belongs in a file


class SchedulesJson(TypedDict):
    """All schedules, by name."""

    schedules: list[ScheduleJson]


def views(schedules: Schedules, job_types: JobTypes) -> Blueprint:
    """Return the views of `/schedules`."""
    blueprint = Blueprint("schedules", __name__)
    operates = partial(endpoint, scope="operate", by_type=True)

    def shown(stored: StoredSchedule) -> ScheduleJson:
        row = schedule_json(stored, shown_payload(job_types, stored.schedule))
        return {**row, "callback_url": _shown_url(row["callback_url"])}

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
    @operates(
        "Create or replace a schedule",
        change="schedule-stored",
        body=Schedule,
        answers={200: ScheduleJson, 201: ScheduleJson},
        problems=(400, 403, 409, 413, 415, 422, 503),
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
    @operates("Delete a schedule", change="schedule-deleted", answers={204: None}, problems=(404, 503))
    def delete(name: str) -> ResponseReturnValue:
        """Tasks that the schedule has queued stay."""
        try:
            find(name)
        except TaskQueueError:  # one that cannot be read can be deleted, too: by who may see all types
            if caller_types() is not None:
                raise
        schedules.delete(name)
        return "", 204

    @blueprint.post("/schedules/<name>/run")
    @operates("Run a schedule now", change="schedule-run", answers={202: TaskJson}, problems=(404, 422, 503))
    def run(name: str) -> ResponseReturnValue:
        """Queue the schedule's task now, also while the schedule is paused. Its next runs stay."""
        task = schedules.run(find(name).name)
        return jsonify(task_json(task)), 202, {"Location": url_for("tasks.get", task_id=task.id)}

    @blueprint.post("/schedules/<name>/pause")
    @operates("Pause a schedule", change="schedule-paused", answers={200: ScheduleJson}, problems=(404, 503))
    def pause(name: str) -> ResponseReturnValue:
        """Stop a schedule from running until it is resumed."""
        return jsonify(shown(schedules.pause(find(name).name)))

    @blueprint.post("/schedules/<name>/resume")
    @operates("Resume a schedule", change="schedule-resumed", answers={200: ScheduleJson}, problems=(404, 503))
    def resume(name: str) -> ResponseReturnValue:
        """Let a paused schedule run again. Runs that were due during the pause are not caught up."""
        return jsonify(shown(schedules.resume(find(name).name)))

    return blueprint


def _schedule(body: Json) -> Schedule:
    try:
        return Schedule.model_validate(body)
    except ValidationError as error:
        errors, detail = schedule_errors(error)
    wrong = [each._asdict() for each in errors]
    raise BadRequest(422, "invalid-schedule", "The schedule is not valid", detail, errors=wrong)


def _shown_url(url: str | None) -> str | None:
    """Return a callback's URL; only its host if the caller may not change schedules: the rest may be a secret."""
    key = caller()
    if url is None or key is None or key.may("operate"):
        return url
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}/{MASK}"
