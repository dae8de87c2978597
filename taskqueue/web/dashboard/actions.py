"""What the dashboard's buttons do. rq-dashboard's own stop at the first vanished job, and tell nothing."""

import time
from contextlib import suppress
from typing import cast

from flask import Blueprint, jsonify
from flask.typing import ResponseReturnValue
from redis import Redis
from rq.exceptions import InvalidJobOperation
from rq.registry import FailedJobRegistry

from taskqueue.control.operations import RUNNING, Operations
from taskqueue.errors import UnknownTask, WrongStatus
from taskqueue.store.keys import job_key
from taskqueue.web.dashboard.shown import REGISTRIES, ShownQueue, members, text

MOST_SECONDS = 10.0  # one request does no more than it can in this time …
MOST_JOBS = 10_000  # … nor more than this; its answer says what is left


def register(blueprint: Blueprint, connection: Redis, operations: Operations) -> None:
    """Take the buttons' addresses. They are POST only, and guard.check_origin knows where from."""

    @blueprint.post("/job/<job_id>/requeue")
    def requeue_job(job_id: str) -> ResponseReturnValue:
        operations.requeue(job_id)
        return _done("The job is queued again.")

    @blueprint.post("/job/<job_id>/delete")
    def delete_job(job_id: str) -> ResponseReturnValue:
        operations.delete(job_id)
        return _done("The job is deleted.")

    @blueprint.post("/requeue/<queue_name>")
    def requeue_all(queue_name: str) -> ResponseReturnValue:
        failed = FailedJobRegistry.key_template.format(queue_name)
        end = time.monotonic() + MOST_SECONDS
        count, vanished, unreadable = 0, 0, 0
        for entry in members(failed, connection, 0, MOST_JOBS - 1):
            if time.monotonic() > end:
                break
            try:
                operations.requeue(text(entry))
                count += 1
            except UnknownTask:
                connection.zrem(failed, entry)
                vanished += 1
            except WrongStatus:
                unreadable += 1
        told = f"Jobs queued again: {count:,}."
        if vanished:
            told += f" Vanished before: {vanished:,}."
        if unreadable:
            told += f" Cannot be queued again: {unreadable:,}."
        return _done(told + _left(connection.zcard(failed) - unreadable), count=count)

    @blueprint.post("/queue/<queue_name>/<registry_name>/empty")
    def empty_queue(queue_name: str, registry_name: str) -> ResponseReturnValue:
        if registry_name == "started":
            raise InvalidJobOperation(RUNNING)
        if registry_name == "queued":
            count = int(ShownQueue(queue_name, connection=connection).empty())  # type: ignore[no-untyped-call]
            return _done(f"Jobs deleted: {count:,}.", count=count)
        key = REGISTRIES[registry_name].key_template.format(queue_name)
        end, count = time.monotonic() + MOST_SECONDS, 0
        for entry in members(key, connection, 0, MOST_JOBS - 1):
            if time.monotonic() > end:
                break
            with suppress(UnknownTask, WrongStatus):
                operations.delete(text(entry))
            connection.zrem(key, entry)  # whatever it is: a text that is no id, a job that stands elsewhere, too
            count += 1
        return _done(f"Jobs deleted: {count:,}." + _left(connection.zcard(key)), count=count)

    @blueprint.post("/queue/<queue_name>/compact")
    def compact_queue(queue_name: str) -> ResponseReturnValue:
        # RQ's own takes the whole queue away and puts it back job by job: what if it is killed in between?
        key = ShownQueue(queue_name, connection=connection).key
        entries = connection.lrange(key, 0, MOST_JOBS - 1)
        with connection.pipeline(transaction=False) as pipeline:
            for entry in entries:
                pipeline.exists(job_key(text(entry)))
            stale = [entry for entry, exists in zip(entries, pipeline.execute(), strict=True) if not exists]
            for entry in stale:
                pipeline.lrem(key, 0, cast("str", entry))
            pipeline.execute()
        return _done(f"Vanished jobs removed: {len(stale):,}.", count=len(stale))


def _left(count: int) -> str:
    return f" Left: {count:,}; press again." if count > 0 else ""


def _done(message: str, **more: int) -> ResponseReturnValue:
    return jsonify({"status": "OK", "message": message} | more)
