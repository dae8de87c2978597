"""The operations of the command line over Redis."""

import json
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import asdict
from datetime import UTC, datetime
from hashlib import sha256
from typing import Any
from urllib.parse import urlencode

from pydantic import ValidationError

from taskqueue.cli.by_redis_system import RedisSystem, Row, plain, row
from taskqueue.control.bulk import Action
from taskqueue.control.failed_tasks import FailedTasks
from taskqueue.enqueue.idempotency import IdempotencyKey
from taskqueue.enqueue.options import SubmitOptions, TaskSpec
from taskqueue.errors import InvalidOptions, InvalidSetting, TooManyMatch, UnknownTask
from taskqueue.jobtypes.signature import option_errors
from taskqueue.monitor.diagnosis import Explainer
from taskqueue.monitor.events import EventCursor, follow
from taskqueue.monitor.queue_warnings import QueueWarnings
from taskqueue.monitor.result_waiter import ResultWaiter
from taskqueue.monitor.subscriptions import Subscriptions
from taskqueue.run.builtin import bulk
from taskqueue.run.parents import ParentIds, read_tasks
from taskqueue.store.connection import connect_for_probes
from taskqueue.store.keys import ENDED
from taskqueue.tasks.parent_json import parent_json
from taskqueue.tasks.query import QueryError, read_query
from taskqueue.tasks.task_filter import TaskFilter
from taskqueue.tasks.task_json import task_json
from taskqueue.telemetry.changes import person

CALLER = b"command line"  # whose idempotency keys these are
PAGE = 200
COUNTED = 10_000  # tasks are counted before an action, and no more
EXAMPLES = 10
BATCHES, BULK_ACTIONS = 20, 50  # the latest that are listed, as over HTTP


class RedisOperations(RedisSystem):
    """Operations over Redis: see `taskqueue.cli.operations.Operations`."""

    def submit(self, task_type: str, payload: Any, options: Mapping[str, str], key: str | None) -> Row:
        """Queue a task."""
        try:
            checked = SubmitOptions.model_validate(dict(options))
        except ValidationError as error:
            raise InvalidOptions(option_errors(error)) from None
        request = json.dumps([task_type, payload, sorted(options.items())])
        accepted = self._queue.accept(task_type, payload, checked, _idempotency(key, request))
        warnings = QueueWarnings(connect_for_probes(self._connection), self._settings.queues)
        return {
            **task_json(accepted.task),
            "warnings": [warning.json() for warning in warnings.of_accepted(accepted)],
        }

    def submit_many(self, tasks: list[Any], then: Any, key: str | None, *, atomic: bool) -> Row:
        """Queue many tasks."""
        try:
            spec = None if then is None else TaskSpec.model_validate(then)
        except ValidationError as error:
            raise InvalidOptions(option_errors(error)) from None
        request = json.dumps([tasks, then, atomic])
        queued = self._batches.submit(
            self._batches.prepare(tasks, on_complete=spec), atomic=atomic, idempotency=_idempotency(key, request)
        )
        results: list[Row] = [
            {"id": each} if isinstance(each, str) else {"errors": [error._asdict() for error in each.errors]}
            for each in queued.results
        ]
        refused = sum("errors" in each for each in results)
        return {
            "batch": queued.batch_id,
            "queued": len(results) - refused,
            "refused": refused,
            "on_complete": queued.on_complete,
            "results": results,
        }

    def batches(self) -> list[Row]:
        """Return the latest batches."""
        return [plain(batch) for batch in self._batches.latest(BATCHES)]

    def batch(self, batch_id: str) -> Row:
        """Return a batch."""
        return dict(plain(self._batches.get(batch_id)))

    def get(self, task_id: str) -> Row:
        """Return a task as it is now."""
        return row(self._queue.get(task_id))

    def wait(self, task_id: str, seconds: float) -> Row:
        """Return a task when it has ended, or as it is after so many seconds."""
        task = self._queue.get(task_id)
        waited = ResultWaiter(self._connection, self._queue.get, 1).wait(task, seconds)
        return row(waited or self._queue.get(task_id))

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
                        yield event.kind, plain(event.line)
                    elif event.task:
                        yield event.kind, row(event.task)
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

    def explain(self, task_id: str) -> Row:
        """Return why a task does not run, or how it ended."""
        explainer = Explainer(self._connection, self._queue, self._cluster_state, self._settings)
        explanation = explainer.explain(task_id)
        return {**asdict(explanation), "reasons": [reason.json() for reason in explanation.reasons]}

    def logs(self, task_id: str, attempt: int | None) -> list[Row]:
        """Return the lines of a task's log."""
        _, lines = self._queue.get_with_lines(task_id, "0-0")
        return [plain(line) for line in lines if attempt in (None, line.attempt)]

    def parents(self, task_id: str) -> list[Row]:
        """Return the tasks that a task waits for."""
        return [
            dict(parent_json(parent_id, task))
            for ids in ParentIds(self._connection, task_id).pages()
            for parent_id, task in zip(ids, read_tasks(self._connection, ids), strict=True)
        ]

    def tasks(self, q: str, limit: int) -> list[Row]:
        """Return the tasks that a search finds."""
        wanted, rows, below = _search(q), list[Row](), None
        while len(rows) < limit:
            page = self._listing.page(wanted, min(limit - len(rows), PAGE), below)
            rows += map(plain, page.tasks)
            below = page.next
            if below is None:
                break
        return rows

    def failures(self) -> Row:
        """Return the groups of failed tasks."""
        groups, complete = FailedTasks(self._connection, self._settings.queues).groups()
        return {"failures": [plain(group) for group in groups], "complete": complete}

    def bulk_actions(self) -> list[Row]:
        """Return the latest tasks that `bulk` has queued."""
        page = self._listing.page(TaskFilter(type=(bulk.NAME,)), BULK_ACTIONS)
        return [row(self._queue.get(task.id)) for task in page.tasks]

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
        return row(task)


def _idempotency(key: str | None, request: str) -> IdempotencyKey | None:
    return IdempotencyKey.of(key, CALLER, sha256(request.encode()).hexdigest()) if key else None


def _search(q: str) -> TaskFilter:
    try:
        return read_query(q)
    except QueryError as error:
        raise InvalidSetting(f"q: {error}") from None


def _some(q: str) -> None:
    """Raise `InvalidSetting` for a search that cannot be read, or that would find all tasks."""
    if _search(q) == TaskFilter():
        raise InvalidSetting("q: Say which tasks: an empty search would be all of them")
