"""The page Schedules: what runs when, how the last run ended, and the form to change a schedule."""

import json
from dataclasses import dataclass
from typing import Any

from flask import Blueprint, render_template, request, url_for
from flask.typing import ResponseReturnValue
from pydantic import ValidationError

from taskqueue.enqueue.schedule import Schedule
from taskqueue.enqueue.schedule_store import StoredSchedule, shown_payload
from taskqueue.errors import InvalidPayload, InvalidScheduleName, TaskQueueError, UnknownSchedule
from taskqueue.tasks.task_filter import Summary, TaskFilter
from taskqueue.web.console import Services
from taskqueue.web.console.guard import check_may, operates, who
from taskqueue.web.console.notices import Notice, done
from taskqueue.web.http.access import caller_sees, caller_types

RUNS_SHOWN = 10
NEXT_SHOWN = 5


@dataclass(frozen=True)
class ScheduleRow:
    """A schedule and the task of its last run, if that still exists."""

    stored: StoredSchedule
    last: Summary | None

    @property
    def rhythm(self) -> str:
        """How often it runs, in words."""
        return rhythm(self.stored.schedule)


def register(blueprint: Blueprint, services: Services) -> None:
    """Add the pages and their buttons."""
    schedules = services.schedules

    def find(name: str) -> StoredSchedule:
        stored = schedules.get(name)
        if not caller_sees(stored.schedule.task_type):
            raise UnknownSchedule(name)
        return stored

    @blueprint.get("/schedules")
    def schedule_list() -> ResponseReturnValue:
        seen = [stored for stored in schedules.all() if caller_sees(stored.schedule.task_type)]
        last = services.listing.tasks([stored.last_task for stored in seen if stored.last_task])
        rows = [ScheduleRow(stored, last.get(stored.last_task or "")) for stored in seen]
        return render_template("console/schedules.html", rows=rows)

    @blueprint.get("/schedules/<name>")
    def schedule(name: str) -> ResponseReturnValue:
        stored = find(name)
        runs = services.listing.page(
            TaskFilter(tag=(f"schedule:{name}",)), RUNS_SHOWN, job_types=caller_types()
        ).tasks
        next_runs = (
            []
            if stored.next_run is None
            else [
                stored.next_run,
                *stored.schedule.next_times(stored.next_run, stored.updated_at, NEXT_SHOWN - 1),
            ]
        )
        return render_template(
            "console/schedule.html",
            stored=stored,
            rhythm=rhythm(stored.schedule),
            runs=runs,
            next_runs=next_runs,
            payload=json.dumps(shown_payload(services.job_types, stored.schedule), indent=2, ensure_ascii=False),
        )

    @blueprint.route("/schedules/<name>/edit", methods=["GET", "POST"])
    def edit_schedule(name: str) -> ResponseReturnValue:
        check_may("operate")
        stored = find(name) if name != "new" or schedules.find(name) else None
        document = (
            _document(stored) if stored else '{\n  "task_type": "",\n  "payload": {},\n  "interval": 3600\n}'
        )
        error, new_name = "", "" if stored is None else name
        if request.method == "POST":
            document = request.form.get("document", "")
            new_name = request.form.get("name", name).strip() if stored is None else name
            try:
                parsed = Schedule.model_validate(json.loads(document))
                if not caller_sees(parsed.task_type):
                    raise InvalidScheduleName(new_name)
                schedules.put(new_name, parsed)
            except (ValueError, ValidationError, TaskQueueError) as refused:
                error = _words(refused)
            else:
                services.changes.record(who(), "console", "schedule-stored", new_name, task_type=parsed.task_type)
                return done(f"The schedule {new_name} is stored.", url_for("console.schedule", name=new_name))
        types = sorted(filter(caller_sees, services.job_types))
        return render_template(
            "console/schedule_form.html", stored=stored, name=new_name, document=document, error=error, types=types
        ), 422 if error else 200

    @blueprint.post("/schedules/<name>/run")
    @operates
    def run_schedule(name: str) -> ResponseReturnValue:
        stored = find(name)
        task = schedules.run(name)
        services.changes.record(who(), "console", "schedule-run", name, task_type=stored.schedule.task_type)
        link = f"{request.script_root}/console/tasks/{task.id}"
        return done(Notice(f"A task of {name} is queued.", link=link, link_text="Look at it"))

    @blueprint.post("/schedules/<name>/pause")
    @operates
    def pause_schedule(name: str) -> ResponseReturnValue:
        stored = find(name)
        schedules.pause(name)
        services.changes.record(who(), "console", "schedule-paused", name, task_type=stored.schedule.task_type)
        return done(Notice(f"{name} is paused.", undo=url_for("console.resume_schedule", name=name)))

    @blueprint.post("/schedules/<name>/resume")
    @operates
    def resume_schedule(name: str) -> ResponseReturnValue:
        stored = find(name)
        schedules.resume(name)
        services.changes.record(who(), "console", "schedule-resumed", name, task_type=stored.schedule.task_type)
        return done(Notice(f"{name} is resumed.", undo=url_for("console.pause_schedule", name=name)))

    @blueprint.post("/schedules/<name>/delete")
    @operates
    def delete_schedule(name: str) -> ResponseReturnValue:
        stored = find(name)
        if request.form.get("sure") != "yes":
            return render_template("console/schedule_delete.html", stored=stored)
        schedules.delete(name)
        services.changes.record(
            who(), "console", "schedule-deleted", name, _document(stored, masked=True), stored.schedule.task_type
        )
        return done(f"The schedule {name} is deleted.", url_for("console.schedule_list"))


def rhythm(schedule: Schedule) -> str:
    """Return how often a schedule runs, in words."""
    if schedule.interval:
        for seconds, unit in ((86_400, "day"), (3600, "hour"), (60, "minute"), (1, "second")):
            if schedule.interval % seconds == 0:
                count = schedule.interval // seconds
                return f"every {unit}" if count == 1 else f"every {count} {unit}s"
    return f"{_cron_words(schedule.cron or '')} {schedule.timezone}"


def _cron_words(cron: str) -> str:
    """Return a simple cron expression in words, another one unchanged."""
    minute, hour, day, month, weekday = cron.split()
    if minute.isdigit() and hour.isdigit() and (day, month) == ("*", "*"):
        at = f"at {int(hour):02}:{int(minute):02}"
        days = {"*": "every day", "1-5": "Monday to Friday", "0": "every Sunday", "7": "every Sunday"}
        names = ("Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday")
        if weekday in days:
            return f"{days[weekday]} {at}"
        if weekday.isdigit() and int(weekday) < len(names):
            return f"every {names[int(weekday)]} {at}"
    if minute.isdigit() and hour.isdigit() and day.isdigit() and (month, weekday) == ("*", "*"):
        return f"day {int(day)} of each month at {int(hour):02}:{int(minute):02}"
    if minute.isdigit() and (hour, day, month, weekday) == ("*", "*", "*", "*"):
        return f"every hour at minute {int(minute)}"
    if minute.startswith("*/") and (hour, day, month, weekday) == ("*", "*", "*", "*"):
        return f"every {minute[2:]} minutes"
    return f"cron {cron}"


def _document(stored: StoredSchedule, *, masked: bool = False) -> str:
    fields: dict[str, Any] = stored.schedule.model_dump(mode="json", exclude_defaults=True)
    if masked:
        fields.pop("payload", None)
    return json.dumps(fields, indent=None if masked else 2, ensure_ascii=False)


def _words(error: Exception) -> str:
    match error:
        case json.JSONDecodeError():
            return f"This is not JSON: line {error.lineno}, column {error.colno}: {error.msg}"
        case ValidationError():
            return "; ".join(
                f"{'.'.join(map(str, each['loc'])) or 'the document'}: {each['msg'].removeprefix('Value error, ')}"
                for each in error.errors(include_url=False, include_context=False, include_input=False)
            )
        case InvalidPayload():
            return "; ".join(f"{each.pointer or 'the payload'}: {each.message}" for each in error.errors)
    return str(error)
