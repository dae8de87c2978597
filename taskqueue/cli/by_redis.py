"""The operations of the command line over Redis."""

import json
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import asdict, is_dataclass
from datetime import UTC, datetime
from functools import cached_property
from hashlib import sha256
from typing import Any, Literal
from urllib.parse import urlencode

from pydantic import ValidationError
from redis import Redis

from taskqueue.cli.screen import flat
from taskqueue.control.bulk import Action
from taskqueue.control.failed_tasks import FailedTasks
from taskqueue.control.operations import Operations
from taskqueue.control.pauses import Pauses
from taskqueue.control.type_limits import TypeControl
from taskqueue.enqueue.idempotency import IdempotencyKey
from taskqueue.enqueue.options import SubmitOptions
from taskqueue.enqueue.queue import TaskQueue
from taskqueue.enqueue.schedule import Schedule
from taskqueue.enqueue.schedule_json import schedule_errors, schedule_json
from taskqueue.enqueue.schedule_store import Schedules, StoredSchedule, shown_payload
from taskqueue.errors import InvalidOptions, InvalidSetting, PayloadError, TooManyMatch, UnknownTask
from taskqueue.jobtypes.discovery import discover
from taskqueue.jobtypes.limits import Limits
from taskqueue.jobtypes.registry import JobTypes
from taskqueue.monitor.cluster_state import ClusterState
from taskqueue.monitor.diagnosis import Explainer
from taskqueue.monitor.events import EventCursor, follow
from taskqueue.monitor.queue_warnings import QueueWarnings
from taskqueue.monitor.result_waiter import ResultWaiter
from taskqueue.monitor.subscriptions import Subscriptions
from taskqueue.run.builtin import bulk
from taskqueue.settings import Settings
from taskqueue.store.connection import connect_for_probes, connect_for_requests
from taskqueue.store.keys import ENDED
from taskqueue.store.times import timestamp
from taskqueue.tasks.listing import Listing
from taskqueue.tasks.query import QueryError, read_query
from taskqueue.tasks.task import Task
from taskqueue.tasks.task_filter import TaskFilter
from taskqueue.tasks.task_json import task_json
from taskqueue.telemetry.changes import Changes, person
from taskqueue.telemetry.series import Series
from taskqueue.telemetry.trace import current_sender

Row = dict[str, Any]

CALLER = b"command line"  # whose idempotency keys these are
PAGE = 200
COUNTED = 10_000  # tasks are counted before an action, and no more
EXAMPLES = 10


class RedisOperations:
    """Operations over Redis: see `taskqueue.cli.operations.Operations`."""

    def __init__(self, settings: Settings, job_types: JobTypes | None = None) -> None:
        self._settings = settings
        self._known_types = job_types
        self._connection: Redis = connect_for_requests(settings.redis_url)
        self._operations = Operations(self._connection, settings.failure_ttl_seconds)
        self._changes = Changes(self._connection)
        self._cluster_state = ClusterState(self._connection, settings.queues, Series(self._connection))
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

    def submit(self, task_type: str, payload: Any, options: Mapping[str, str], key: str | None) -> Row:
        """Queue a task."""
        try:
            checked = SubmitOptions.model_validate(dict(options))
        except ValidationError as error:
            errors = error.errors(include_url=False, include_context=False, include_input=False)
            raise InvalidOptions(
                [PayloadError(f"/{each['loc'][0]}", each["msg"].removeprefix("Value error, ")) for each in errors]
            ) from None
        request = json.dumps([task_type, payload, sorted(options.items())])
        idempotency = IdempotencyKey.of(key, CALLER, sha256(request.encode()).hexdigest()) if key else None
        current_sender.set(person())
        accepted = self._queue.accept(task_type, payload, checked, idempotency)
        warnings = QueueWarnings(connect_for_probes(self._connection), self._settings.queues)
        return {
            **task_json(accepted.task),
            "warnings": [warning.json() for warning in warnings.of_accepted(accepted)],
        }

    def get(self, task_id: str) -> Row:
        """Return a task as it is now."""
        return _row(self._queue.get(task_id))

    def wait(self, task_id: str, seconds: float) -> Row:
        """Return a task when it has ended, or as it is after so many seconds."""
        task = self._queue.get(task_id)
        waited = ResultWaiter(self._connection, self._queue.get, 1).wait(task, seconds)
        return _row(waited or self._queue.get(task_id))

    def follow(self, task_id: str) -> Iterator[tuple[str, Row]]:
        """Yield the events of a task as they happen, until it has ended."""
        cursor = EventCursor()
        # With short timeouts: a person is waiting.
        with closing(Subscriptions(self._connection, self._connection)) as subscriptions:
            while True:  # one stream of events ends after an hour
                for event in follow(self._queue, subscriptions, task_id, cursor):
                    cursor = event.cursor
                    if event.kind == "gone":
                        raise UnknownTask(task_id)
                    if event.line:
                        yield event.kind, _plain(event.line)
                    elif event.task:
                        yield event.kind, _row(event.task)
                        if event.kind == "status" and event.task.status in ENDED:
                            return

    def cancel(self, task_id: str) -> Row:
        """Cancel a task."""
        self._operations.cancel(task_id)
        return self._changed("task-canceled", task_id)

    def requeue(self, task_id: str) -> Row:
        """Queue a failed or canceled task again."""
        self._operations.requeue(task_id)
        return self._changed("task-requeued", task_id)

    def delete(self, task_id: str) -> None:
        """Delete a task."""
        task_type = self._queue.get(task_id).type
        self._operations.delete(task_id)
        self._record("task-deleted", task_id, task_type=task_type)

    def _changed(self, what: str, task_id: str) -> Row:
        """Record a change of a task, and return the task."""
        task = self.get(task_id)
        self._record(what, task_id, task_type=task["type"])
        return task

    def _record(self, what: str, target: str = "", detail: str = "", task_type: str = "") -> None:
        self._changes.record(person(), "command line", what, target, detail, task_type)

    def explain(self, task_id: str) -> Row:
        """Return why a task does not run, or how it ended."""
        explainer = Explainer(self._connection, self._queue, self._cluster_state, self._settings)
        explanation = explainer.explain(task_id)
        return {**asdict(explanation), "reasons": [reason.json() for reason in explanation.reasons]}

    def logs(self, task_id: str, attempt: int | None) -> list[Row]:
        """Return the lines of a task's log."""
        _, lines = self._queue.get_with_lines(task_id, "0-0")
        return [_plain(line) for line in lines if attempt in (None, line.attempt)]

    def tasks(self, q: str, limit: int) -> list[Row]:
        """Return the tasks that a search finds."""
        wanted, rows, below = _search(q), list[Row](), None
        while len(rows) < limit:
            page = self._listing.page(wanted, min(limit - len(rows), PAGE), below)
            rows += map(_plain, page.tasks)
            below = page.next
            if below is None:
                break
        return rows

    def failures(self) -> Row:
        """Return the groups of failed tasks."""
        groups, complete = FailedTasks(self._connection, self._settings.queues).groups()
        return {"failures": [_plain(group) for group in groups], "complete": complete}

    def changes(self, limit: int) -> list[Row]:
        """Return who changed what."""
        return [_plain(change) for change in self._changes.page(limit)[0]]

    def matching(self, action: Action, q: str) -> Row:
        """Return how many tasks an action would change."""
        _some(q)
        found, more = bulk.count(self._listing, action, q, datetime.now(UTC), COUNTED)
        return {"matching": len(found), "more": more, "examples": found[:EXAMPLES]}

    def bulk(self, action: Action, q: str, most: int, rate: float | None, delay: float | None) -> Row:
        """Queue a task that changes all tasks which a search finds."""
        _some(q)
        now = datetime.now(UTC)
        if bulk.count(self._listing, action, q, now, most)[1]:
            raise TooManyMatch(most)
        options = {"max": most, "rate": rate, "delay": delay}  # as `POST /bulk` has them
        task = bulk.submit(self._queue, action, q, now, most=most, rate=rate, delay=delay, types=None, by=person())
        given = {name: value for name, value in options.items() if value is not None}
        self._record("bulk-action", detail=urlencode({"action": action, "q": q, **given}))
        return _row(task)

    def queues(self) -> list[Row]:
        """Return all queues with their counts of tasks."""
        return [flat(asdict(queue), "tasks") for queue in self._cluster_state.queues()]

    def workers(self) -> list[Row]:
        """Return the workers that Redis has not forgotten."""
        return [_plain(worker) for worker in self._cluster_state.workers()]

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
        return [_plain(state) for state in self._type_control().all()]

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
        row: Row = _plain(self._type_control().of(task_type))
        return row

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
        return _row(task)

    def delete_schedule(self, name: str) -> None:
        """Delete a schedule."""
        self._schedules.delete(name)
        self._record("schedule-deleted", name)

    def _schedule(self, stored: StoredSchedule) -> Row:
        return dict(schedule_json(stored, shown_payload(self._job_types, stored.schedule)))


def _search(q: str) -> TaskFilter:
    try:
        return read_query(q)
    except QueryError as error:
        raise InvalidSetting(f"q: {error}") from None


def _some(q: str) -> None:
    """Raise `InvalidSetting` for a search that cannot be read, or that would find all tasks."""
    if _search(q) == TaskFilter():
        raise InvalidSetting("q: Say which tasks: an empty search would be all of them")


def _row(task: Task) -> Row:
    return dict(task_json(task))


def _plain(value: Any) -> Any:
    """Return what a dataclass holds as JSON values."""
    if is_dataclass(value) and not isinstance(value, type):
        return _plain(asdict(value))
    if isinstance(value, datetime):
        return timestamp(value)
    if isinstance(value, dict):
        return {name: _plain(inner) for name, inner in value.items()}
    return [_plain(inner) for inner in value] if isinstance(value, list | tuple) else value
