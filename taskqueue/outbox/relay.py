"""Moves committed tasks from an outbox to Redis: each exactly once, wherever the process is killed.

1. Read the next rows. Transactions commit in another order than their rows were numbered, so each pass begins at
   the lowest row again.
2. Send all of them to enqueue.lua, in one round trip. It writes a job and puts the task's id into `tq:outbox:sent`
   in one step. A task whose job is there already, or whose id is in that set, is not queued again: so it does not
   matter how often this step is repeated, nor whether the job has ended and expired meanwhile.
3. Delete the rows.
4. Remove the ids from `tq:outbox:sent`.

A relay that was held up between 1 and 2 (a frozen machine) could send rows that its successor has queued and
deleted. So enqueue.lua queues nothing for a relay that has lost its lock.
"""

import json
import logging
import time
from collections.abc import Sequence

from pydantic import ValidationError
from redis import Redis
from redis.exceptions import ResponseError

from taskqueue.enqueue.options import SubmitOptions
from taskqueue.enqueue.submission import Submission, Submissions, accepted
from taskqueue.errors import (
    InvalidPayload,
    RelayReplaced,
    TaskQueueError,
    UnknownJobType,
    UnknownParent,
    UnknownQueue,
)
from taskqueue.jobtypes.registry import JobTypes
from taskqueue.outbox.rows import Row, Rows, aware
from taskqueue.settings import Settings
from taskqueue.store.keys import OUTBOX_SENT
from taskqueue.telemetry.log import about

log = logging.getLogger(__name__)

PATIENCE_SECONDS = 600  # for so long a task waits for a worker with newer code, or for its parent's transaction
MARKS_SECONDS = 366 * 86_400  # a mark is left behind if a relay dies between the steps 3 and 4
BOUND_TO_FAIL = (InvalidPayload, UnknownJobType, UnknownQueue, UnknownParent)


class Relay:
    """Moves the tasks of one outbox to Redis, while it holds the lock: the lock's key and a token."""

    def __init__(
        self,
        rows: Rows,
        connection: Redis,
        settings: Settings,
        job_types: JobTypes,
        lock: tuple[str, str],
        patience_seconds: float = PATIENCE_SECONDS,
    ) -> None:
        self._rows = rows
        self._connection = connection
        self._job_types = job_types
        self._lock = lock
        self._patience_seconds = patience_seconds
        self._submissions = Submissions(connection, settings)
        self.moved_at: float | None = None  # when a task was last moved, in seconds since 1970
        self.refused = ""  # what Redis has said last, if it has refused tasks
        self._waits_since: dict[str, float] = {}  # tasks that could not be queued at the first look
        connection.zremrangebyscore(OUTBOX_SENT, 0, time.time() - MARKS_SECONDS)

    def move(self, after: int = 0) -> int:
        """Move the next batch of rows after this number; return the number of its last row, 0 if there is none.

        `refused` says afterwards whether Redis has refused some, which are moved again by the next pass. Raises
        `RelayReplaced`; the drivers' errors, and then all of the batch is moved again.
        """
        rows = self._rows.after(after)
        if not rows:
            return 0
        submissions = [(row, submission) for row in rows if (submission := self._prepared(row))]
        answers = self._send([submission for _, submission in submissions])
        sent, is_replaced = [], False
        for (row, submission), answer in zip(submissions, answers, strict=True):
            try:
                if isinstance(answer, ResponseError):
                    self.refused = str(answer)
                    continue
                accepted(submission, answer)
                sent.append(row)
            except UnknownParent as error:
                self._postpone(row, error)
            except RelayReplaced:
                is_replaced = True
        if sent:
            self._rows.delete(sent)
            self._connection.zrem(OUTBOX_SENT, *(row.id for row in sent))
            self.moved_at = time.time()
            for row in sent:
                self._waits_since.pop(row.id, None)
        if is_replaced:
            raise RelayReplaced
        return rows[-1].number

    def _prepared(self, row: Row) -> Submission | None:
        """Return the call that queues a row's task; None if it cannot be queued now, or ever."""
        try:
            options = SubmitOptions.model_validate(json.loads(row.options))
            payload = json.loads(row.payload)
        except (ValueError, ValidationError) as error:  # somebody has edited the row
            self._set_aside(row, f"It cannot be read: {error}")
            return None
        try:
            return self._submissions.prepare(
                self._job_types.find(row.task_type),
                payload,
                options,
                created=aware(row.created_at),
                task_id=row.id,
                trace=row.trace,
                relay=self._lock,
            )
        except BOUND_TO_FAIL as error:
            self._postpone(row, error)
            return None

    def _send(self, submissions: Sequence[Submission]) -> list[bytes | list[bytes] | ResponseError]:
        """Send tasks to Redis in one round trip, and return the answer for each. Raises the driver's errors."""
        if not submissions:
            return []
        wire = self._connection.connection_pool.get_connection()
        try:
            wire.send_packed_command([self._submissions.load, *map(self._submissions.command, submissions)])
            wire.read_response()
            answers = []
            for _ in submissions:
                try:
                    answers.append(wire.read_response())
                except ResponseError as error:
                    answers.append(error)
        except BaseException:
            wire.disconnect()  # the answers that are still to come belong to no later command
            raise
        finally:
            self._connection.connection_pool.release(wire)
        return answers

    def _postpone(self, row: Row, error: TaskQueueError) -> None:
        """Leave a task to the next pass: a worker with newer code may relay then, or its parent be there."""
        now = time.monotonic()
        since = self._waits_since.setdefault(row.id, now)
        if now - since >= self._patience_seconds:
            self._set_aside(row, str(error))
        elif since == now:
            log.warning(
                "Task %s of the outbox waits for newer code, for %d s at most: %s",
                row.id, self._patience_seconds, error, extra=about(row.id),
            )  # fmt: skip

    def _set_aside(self, row: Row, reason: str) -> None:
        log.error(
            "Task %s (%s) cannot be queued and is set aside in the outbox: %s",
            row.id, row.task_type, reason, extra=about(row.id),
        )  # fmt: skip
        self._rows.set_aside(row, reason)
        self._waits_since.pop(row.id, None)
