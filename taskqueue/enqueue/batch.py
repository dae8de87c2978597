"""Batches: many tasks that are queued at once and counted together; another task may run when all have ended."""

import re
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime
from typing import cast, get_args
from uuid import uuid4

from redis import Redis
from rq.defaults import RQ_KEY_PREFIX
from rq.job import JobStatus
from rq.utils import as_text, utcparse

from taskqueue.enqueue.batch_draft import MAX_TASKS, BatchDraft, Queued
from taskqueue.enqueue.idempotency import RECORD_SECONDS, IdempotencyKey
from taskqueue.enqueue.options import TaskSpec
from taskqueue.enqueue.submission import Submissions
from taskqueue.errors import IdempotencyMismatch, StillProcessing, UnknownBatch
from taskqueue.jobtypes.registry import JobTypes
from taskqueue.jobtypes.signature import Json
from taskqueue.store.connection import redis_errors
from taskqueue.store.keys import RECENT_BATCHES, STATUSES, Status, batch_key, batch_tasks_key, decoded
from taskqueue.store.scripts import Call, FastScript
from taskqueue.store.transaction import packed, transact

ID = re.compile(r"[0-9a-f]{32}")
PROCESSING_SECONDS = 30  # after this time, a request whose batch is not in Redis may be sent again
SAME_SECONDS = 2e-6  # times are stored in whole microseconds, scores as floating-point numbers
COUNTED_AT_ONCE = 1000  # tasks, by one call of the script: between two calls Redis answers other clients


@dataclass(frozen=True, kw_only=True)
class Batch:
    """A batch as `GET /batches/<id>` shows it."""

    id: str
    created_at: datetime
    ended_at: datetime | None  # when all tasks had ended
    total: int  # tasks
    ended: int  # tasks that have ended, however
    progress: float  # from 0 to 1
    counts: dict[Status, int]
    forgotten: int  # tasks that ended so long ago that Redis keeps them no longer
    on_complete: str | None  # the id of the task that runs when all have ended


class Batches:
    """Queues batches in Redis, and reads them."""

    def __init__(self, connection: Redis, submissions: Submissions, job_types: JobTypes) -> None:
        self._connection = connection
        self._submissions = submissions
        self._job_types = job_types
        self._begin_script = FastScript(connection, "begin_record")
        self._counts_script = FastScript(connection, "batch_counts").registered

    def prepare(self, items: Iterable[Json], *, on_complete: TaskSpec | None = None) -> BatchDraft:
        """Validate the tasks, one by one as they come.

        Raises `BatchTooLarge`, `InvalidJson`, `QueueUnavailable`; for `on_complete`, what a single task raises.
        """
        draft = BatchDraft(uuid4().hex, self._submissions, self._job_types, on_complete)
        for item in items:
            draft.add(item)
        with redis_errors():
            draft.look_for_parents(self._connection)
        return draft

    def submit(
        self, draft: BatchDraft, *, atomic: bool = True, idempotency: IdempotencyKey | None = None
    ) -> Queued:
        """Queue the valid tasks of a draft in one transaction: Redis takes all of them, or none.

        Raises `InvalidBatch` if no task is valid or, with `atomic`, if any is not; `IdempotencyMismatch`,
        `StillProcessing`, `QueueUnavailable`.
        """
        if not draft.accepted or (atomic and draft.refused):
            raise draft.error()
        with redis_errors():
            earlier_id = self._begin(idempotency) if idempotency else None
        if earlier_id:
            return self._repeated(draft, earlier_id)
        commands = draft.commands()
        if idempotency:
            commands.append(packed("HSET", idempotency.record, "outcome", "batch", "id", draft.id))
            commands.append(packed("EXPIRE", idempotency.record, RECORD_SECONDS))
        with redis_errors():
            answers = transact(self._connection, self._submissions.load, commands)
        return draft.answer(draft.ids(answers))

    def get(self, batch_id: str) -> Batch:
        """Return the batch of this id, counted now. Raises `UnknownBatch`, `QueueUnavailable`."""
        if not ID.fullmatch(batch_id):
            raise UnknownBatch(batch_id)
        with redis_errors(), self._connection.pipeline(transaction=False) as pipeline:
            pipeline.hgetall(batch_key(batch_id))
            for first in range(0, MAX_TASKS, COUNTED_AT_ONCE):
                last = first + COUNTED_AT_ONCE - 1
                self._counts_script([batch_tasks_key(batch_id)], [RQ_KEY_PREFIX, first, last], client=pipeline)
            stored, *parts = pipeline.execute()
        if not stored:
            raise UnknownBatch(batch_id)
        counts: dict[Status, int] = dict.fromkeys(get_args(Status), 0)
        forgotten = 0
        for part in parts:
            for status, count in zip(part[::2], part[1::2], strict=True):
                if status:
                    counts[STATUSES[JobStatus(status.decode())]] += count
                else:
                    forgotten += count
        total = sum(counts.values()) + forgotten
        ended = counts["complete"] + counts["failed"] + counts["canceled"] + forgotten
        ended_at, on_complete = stored.get(b"ended_at"), stored.get(b"on_complete")
        return Batch(
            id=batch_id,
            created_at=utcparse(stored[b"created_at"].decode()),
            ended_at=utcparse(ended_at.decode()) if ended_at else None,
            total=total,
            ended=ended,
            progress=round(ended / max(total, 1), 4),
            counts=counts,
            forgotten=forgotten,
            on_complete=on_complete.decode() if on_complete else None,
        )

    def latest(self, limit: int) -> list[Batch]:
        """Return the latest batches that are kept, latest first, each counted now. Raises `QueueUnavailable`."""
        with redis_errors():
            ids = cast("list[bytes]", self._connection.zrange(RECENT_BATCHES, 0, limit - 1, desc=True))
        batches = []
        for batch_id in map(decoded, ids):
            with suppress(UnknownBatch):  # it has expired
                batches.append(self.get(batch_id))
        return batches

    def task_ids(self, batch_id: str, first: int, limit: int) -> list[str]:
        """Return the ids of at most `limit` tasks of a batch, in their order. Raises `QueueUnavailable`."""
        with redis_errors():
            ids = self._connection.lrange(batch_tasks_key(batch_id), first, first + limit - 1)
        return [as_text(task_id) for task_id in ids]

    def of_task(self, task_id: str, created_at: datetime) -> str | None:
        """Return the id of the batch that a task belongs to, if it is one of the latest 1,000 batches.

        A task does not know its batch, but they have the same time of creation. Raises `QueueUnavailable`.
        """
        at = created_at.timestamp()
        least, most = at - SAME_SECONDS, at + SAME_SECONDS
        with redis_errors():
            candidates = self._connection.zrange(RECENT_BATCHES, least, most, byscore=True)
            for batch_id in map(decoded, cast("list[bytes]", candidates)):
                if self._connection.lpos(batch_tasks_key(batch_id), task_id) is not None:
                    return batch_id
        return None

    def _begin(self, idempotency: IdempotencyKey) -> str | None:
        """Return the id of the batch that the same request made earlier; None for the first request."""
        record = self._begin_script(Call([idempotency.record], [idempotency.fingerprint, PROCESSING_SECONDS]))
        if not record:
            return None
        fingerprint, outcome, batch_id = (value.decode() for value in record)
        if fingerprint != idempotency.fingerprint:
            raise IdempotencyMismatch
        if outcome != "batch":
            raise StillProcessing
        return str(batch_id)

    def _repeated(self, draft: BatchDraft, batch_id: str) -> Queued:
        """Return what the first request with this idempotency key was answered."""
        with redis_errors():
            ids = self._connection.lrange(batch_tasks_key(batch_id), 0, -1)
            on_complete = self._connection.hget(batch_key(batch_id), "on_complete")
        answer = draft.answer([as_text(task_id) for task_id in ids])
        return replace(
            answer, batch_id=batch_id, on_complete=as_text(on_complete) if on_complete else None, repeated=True
        )
