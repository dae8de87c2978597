"""Batches: many tasks that are queued at once, counted together, and followed by one more when all have ended."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import get_args
from uuid import uuid4

from redis import Redis
from rq.defaults import RQ_KEY_PREFIX
from rq.job import JobStatus
from rq.utils import as_text, utcparse

from taskqueue.enqueue.batch_draft import MAX_TASKS, BatchDraft, Queued
from taskqueue.enqueue.idempotency import RECORD_SECONDS, IdempotencyKey
from taskqueue.enqueue.options import PlainTask
from taskqueue.enqueue.submission import Submissions
from taskqueue.errors import IdempotencyMismatch, StillProcessing, UnknownBatch
from taskqueue.jobtypes.registry import JobTypes
from taskqueue.jobtypes.signature import Json
from taskqueue.store.connection import redis_errors
from taskqueue.store.keys import STATUSES, Status, batch_key, batch_tasks_key
from taskqueue.store.scripts import FastScript
from taskqueue.store.transaction import packed, transact

ID = re.compile(r"[0-9a-f]{32}")
PROCESSING_SECONDS = 30  # after this a request that Redis has not taken may be sent again
COUNTED_AT_ONCE = 1000  # by one script: Redis answers others in between


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
    """Batches in Redis."""

    def __init__(self, connection: Redis, submissions: Submissions, job_types: JobTypes) -> None:
        self._connection = connection
        self._submissions = submissions
        self._job_types = job_types
        self._begin_script = FastScript(connection, "begin_record")
        self._counts_script = FastScript(connection, "batch_counts").registered

    def prepare(self, items: Iterable[Json], *, on_complete: PlainTask | None = None) -> BatchDraft:
        """Validate the tasks, one by one as they come.

        Raises `BatchTooLarge`, `InvalidJson`; and for `on_complete` what a single task raises.
        """
        batch = BatchDraft(uuid4().hex, self._submissions, self._job_types, on_complete)
        for item in items:
            batch.add(item)
        with redis_errors():
            batch.look_for_parents(self._connection)
        return batch

    def submit(
        self, batch: BatchDraft, *, atomic: bool = True, idempotency: IdempotencyKey | None = None
    ) -> Queued:
        """Queue what can be queued, all of it in one transaction: Redis takes all or nothing.

        Raises `InvalidBatch` where nothing can be, or with `atomic` not everything; `IdempotencyMismatch`,
        `StillProcessing`, `QueueUnavailable`.
        """
        if not batch.taken or (atomic and batch.refused):
            raise batch.error()
        with redis_errors():
            before = self._begin(idempotency) if idempotency else None
        if before:
            return self._repeated(batch, before)
        commands = batch.commands()
        if idempotency:
            commands.append(packed("HSET", idempotency.record, "outcome", "batch", "id", batch.id))
            commands.append(packed("EXPIRE", idempotency.record, RECORD_SECONDS))
        with redis_errors():
            answers = transact(self._connection, self._submissions.load, commands)
        return batch.told(batch.ids(answers))

    def get(self, batch_id: str) -> Batch:
        """The batch of this id, counted now. Raises `UnknownBatch`."""
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

    def _begin(self, idempotency: IdempotencyKey) -> str | None:
        """The batch that the same request made before; None where it is the first."""
        kept = self._begin_script([idempotency.record], [idempotency.fingerprint, PROCESSING_SECONDS])
        if not kept:
            return None
        fingerprint, outcome, batch_id = (word.decode() for word in kept)
        if fingerprint != idempotency.fingerprint:
            raise IdempotencyMismatch
        if outcome != "batch":
            raise StillProcessing
        return str(batch_id)

    def _repeated(self, batch: BatchDraft, batch_id: str) -> Queued:
        with redis_errors():
            ids = self._connection.lrange(batch_tasks_key(batch_id), 0, -1)
            on_complete = self._connection.hget(batch_key(batch_id), "on_complete")
        told = batch.told([as_text(found) for found in ids])
        return Queued(
            batch_id, told.results, as_text(on_complete) if on_complete else None, told.queues, repeated=True
        )
