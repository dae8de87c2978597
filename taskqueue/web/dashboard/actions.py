"""The buttons of the dashboard. rq-dashboard's own stop at the first job that is gone, and report nothing."""

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

MAX_SECONDS = 10.0  # for one request …
MAX_JOBS = 10_000  # … at most; its answer says how many are left


def register(blueprint: Blueprint, connection: Redis, operations: Operations) -> None:
    """Add the addresses of the buttons. They take POST only; guard.check_origin checks where a request is from."""

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
        end = time.monotonic() + MAX_SECONDS
        count, vanished, unreadable = 0, 0, 0
        for entry in members(failed, connection, 0, MAX_JOBS - 1):
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
        message = f"Jobs queued again: {count:,}."
        if vanished:
            message += f" Gone before: {vanished:,}."
        if unreadable:
            message += f" Cannot be queued again: {unreadable:,}."
        return _done(message + _left(connection.zcard(failed) - unreadable), count=count)

    @blueprint.post("/queue/<queue_name>/<registry_name>/empty")
    def empty_queue(queue_name: str, registry_name: str) -> ResponseReturnValue:
        if registry_name == "started":
            raise InvalidJobOperation(RUNNING)
        if registry_name == "queued":
            count = int(ShownQueue(queue_name, connection=connection).empty())  # type: ignore[no-untyped-call]
            return _done(f"Jobs deleted: {count:,}.", count=count)
        key = REGISTRIES[registry_name].key_template.format(queue_name)
        end, count = time.monotonic() + MAX_SECONDS, 0
        for entry in members(key, connection, 0, MAX_JOBS - 1):
            if time.monotonic() > end:
                break
            with suppress(UnknownTask, WrongStatus):
                operations.delete(text(entry))
            connection.zrem(key, entry)  # whatever it is: an invalid id, or a job that is also in another registry
            count += 1
        return _done(f"Jobs deleted: {count:,}." + _left(connection.zcard(key)), count=count)

    @blueprint.post("/queue/<queue_name>/compact")
    def compact_queue(queue_name: str) -> ResponseReturnValue:
        # RQ's own removes the whole queue and puts it back job by job: killed in between, it would lose jobs.
        key = ShownQueue(queue_name, connection=connection).key
        entries = connection.lrange(key, 0, MAX_JOBS - 1)
        with connection.pipeline(transaction=False) as pipeline:
            for entry in entries:
                pipeline.exists(job_key(text(entry)))
            stale = [entry for entry, exists in zip(entries, pipeline.execute(), strict=True) if not exists]
            for entry in stale:
                pipeline.lrem(key, 0, cast("str", entry))
            pipeline.execute()
        return _done(f"Missing jobs removed: {len(stale):,}.", count=len(stale))


def _left(count: int) -> str:
    return f" Left: {count:,}; press again." if count > 0 else ""


def _done(message: str, **more: int) -> ResponseReturnValue:
    return jsonify({"status": "OK", "message": message} | more)
