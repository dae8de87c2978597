"""The operations of the command line over Redis that are about no single task."""

from collections.abc import Mapping
from dataclasses import asdict, is_dataclass
from datetime import datetime
from functools import cached_property
from typing import Any, Literal

from pydantic import ValidationError
from redis import Redis

from taskqueue.cli.operations import By
from taskqueue.cli.screen import flat
from taskqueue.control.operations import Operations
from taskqueue.control.pauses import Pauses
from taskqueue.control.type_limits import TypeControl
from taskqueue.enqueue.batch import Batches
from taskqueue.enqueue.queue import TaskQueue
from taskqueue.enqueue.schedule import Schedule
from taskqueue.enqueue.schedule_json import schedule_errors, schedule_json
from taskqueue.enqueue.schedule_store import Schedules, StoredSchedule, shown_payload
from taskqueue.errors import InvalidSetting
from taskqueue.jobtypes.discovery import discover
from taskqueue.jobtypes.limits import Limits
from taskqueue.jobtypes.registry import JobTypes
from taskqueue.monitor.cluster_state import ClusterState
from taskqueue.run.files import open_files
from taskqueue.settings import Settings
from taskqueue.store.connection import connect_for_requests
from taskqueue.store.times import timestamp
from taskqueue.tasks.listing import Listing
from taskqueue.tasks.task import Task
from taskqueue.tasks.task_json import task_json
from taskqueue.tasks.task_type_json import task_type_json
from taskqueue.telemetry.changes import Changes, person
from taskqueue.telemetry.series import Series, Span

Row = dict[str, Any]


class RedisSystem:
    """Operations over Redis about the whole; `RedisOperations` adds those about tasks."""

    def __init__(self, settings: Settings, job_types: JobTypes | None = None) -> None:
        self._settings = settings
        self._known_types = job_types
        self._connection: Redis = connect_for_requests(settings.redis_url)
        self._operations = Operations(self._connection, settings.failure_ttl_seconds)
        self._changes = Changes(self._connection)
        self._series = Series(self._connection)
        self._cluster_state = ClusterState(self._connection, settings.queues, self._series)
        self._listing = Listing(self._connection, settings.queues)

    @cached_property
    def _queue(self) -> TaskQueue:
        return TaskQueue(self._connection, self._settings, self._job_types)

    @cached_property
    def _job_types(self) -> JobTypes:
        """The job types. To find them takes longer than all else, and lists need none."""
        return self._known_types or discover(*self._settings.jobs, queues=self._settings.queues)

    @cached_property
    def _schedules(self) -> Schedules:
        return Schedules(self._connection, self._queue.submissions, self._job_types)

    @cached_property
    def _batches(self) -> Batches:
        return Batches(self._connection, self._queue.submissions, self._job_types)

    def changes(self, limit: int) -> list[Row]:
        """Return who changed what."""
        return [plain(change) for change in self._changes.page(limit)[0]]

    def queues(self) -> list[Row]:
        """Return all queues with their counts of tasks."""
        return [flat(asdict(queue), "tasks") for queue in self._cluster_state.queues()]

    def workers(self) -> list[Row]:
        """Return the workers that Redis has not forgotten."""
        return [plain(worker) for worker in self._cluster_state.workers()]

    def pause(self, queue: str) -> None:
        """Pause a queue."""
        Pauses(self._connection, self._settings).pause(queue)
        self._record("queue-paused", queue)

    def resume(self, queue: str) -> None:
        """Resume a queue."""
        Pauses(self._connection, self._settings).resume(queue)
        self._record("queue-resumed", queue)

    def limits(self) -> list[Row]:
        """Return the limits of all task types, and which types are paused."""
        return [plain(state) for state in self._type_control().all()]

    def pause_type(self, task_type: str) -> Row:
        """Pause a task type."""
        self._type_control().pause(task_type)
        return self._changed_type("type-paused", task_type)

    def resume_type(self, task_type: str) -> Row:
        """Resume a task type."""
        self._type_control().resume(task_type)
        return self._changed_type("type-resumed", task_type)

    def change_limits(self, task_type: str, concurrency: int | None, rate: str | None) -> Row:
        """Change the limits of a task type."""
        limits = Limits(concurrency=concurrency, rate=rate)
        self._type_control().change(task_type, limits)
        return self._changed_type("limits-changed", task_type, str(limits))

    def reset_limits(self, task_type: str) -> Row:
        """Let the limits of the code hold again."""
        self._type_control().reset(task_type)
        return self._changed_type("limits-reset", task_type)

    def _type_control(self) -> TypeControl:
        return TypeControl(self._connection, self._job_types)

    def _changed_type(self, what: str, task_type: str, detail: str = "") -> Row:
        """Record a change of a task type, and return its limits."""
        self._record(what, task_type, detail, task_type)
        limits: Row = plain(self._type_control().of(task_type))
        return limits

    def schedules(self) -> list[Row]:
        """Return all schedules."""
        return [self._schedule(stored) for stored in self._schedules.all()]

    def put_schedule(self, name: str, document: Mapping[str, Any]) -> Row:
        """Create or replace a schedule."""
        try:
            schedule = Schedule.model_validate(dict(document))
        except ValidationError as error:
            raise InvalidSetting(schedule_errors(error)[1]) from None
        stored, _ = self._schedules.put(name, schedule)
        self._record("schedule-stored", name, task_type=schedule.task_type)
        return self._schedule(stored)

    def change_schedule(self, name: str, action: Literal["pause", "resume"]) -> Row:
        """Pause or resume a schedule."""
        stored = self._schedules.pause(name) if action == "pause" else self._schedules.resume(name)
        self._record(f"schedule-{action}d", name, task_type=stored.schedule.task_type)
        return self._schedule(stored)

    def run_schedule(self, name: str) -> Row:
        """Queue a schedule's task now."""
        task = self._schedules.run(name)
        self._record("schedule-run", name, task_type=task.type)
        return row(task)

    def delete_schedule(self, name: str) -> None:
        """Delete a schedule."""
        self._schedules.delete(name)
        self._record("schedule-deleted", name)

    def show_schedule(self, name: str) -> Row:
        """Return a schedule."""
        return self._schedule(self._schedules.get(name))

    def task_types(self) -> list[Row]:
        """Return the task types, by name."""
        return [dict(task_type_json(self._job_types[name])) for name in sorted(self._job_types)]

    def task_type(self, name: str) -> Row:
        """Return a task type."""
        return dict(task_type_json(self._job_types.find(name)))

    def series(self, span: Span, task_type: str | None, queue: str | None, by: By | None) -> Row:
        """Return what happened in a span."""
        if task_type is not None:
            self._job_types.find(task_type)  # raises UnknownJobType
        table = self._series.read(span)
        series = table.series(by, job_type=task_type, queue=queue)
        return {
            "step_seconds": table.step_seconds,
            "series": [{"name": name, "points": plain(points)} for name, points in series.items()],
        }

    def upload(self, content: bytes, name: str) -> Row:
        """Store a file for a task to read."""
        return dict(plain(open_files(self._settings, self._connection).write(content, name)))

    def download(self, filename: str) -> bytes:
        """Return the content of a file."""
        return open_files(self._settings, self._connection).read(filename)[1]

    def _schedule(self, stored: StoredSchedule) -> Row:
        return dict(schedule_json(stored, shown_payload(self._job_types, stored.schedule)))

    def _record(self, what: str, target: str = "", detail: str = "", task_type: str = "") -> None:
        self._changes.record(person(), "command line", what, target, detail, task_type)


def row(task: Task) -> Row:
    """Return a task as clients see it."""
    return dict(task_json(task))


def plain(value: Any) -> Any:
    """Return what a dataclass holds as JSON values."""
    if is_dataclass(value) and not isinstance(value, type):
        return plain(asdict(value))
    if isinstance(value, datetime):
        return timestamp(value)
    if isinstance(value, dict):
        return {name: plain(inner) for name, inner in value.items()}
    return [plain(inner) for inner in value] if isinstance(value, list | tuple) else value
