"""What the dashboard's buttons do. rq-dashboard's own stop at the first vanished job, and tell nothing."""

import time
from typing import cast

from flask import Blueprint, jsonify
from flask.typing import ResponseReturnValue
from redis import Redis
from redis.client import Pipeline
from rq.exceptions import InvalidJobOperation, NoSuchJobError
from rq.executions import ExecutionRegistry
from rq.job import Job
from rq.registry import FailedJobRegistry, StartedJobRegistry
from rq.results import Result

from web.dashboard.shown import REGISTRIES, JsonJob, ShownQueue, members, text

MOST_SECONDS = 10.0  # one request does no more than it can in this time …
MOST_JOBS = 10_000  # … nor more than this; its answer says what is left

RUNS = "A job that runs is not deleted: its worker would write it again. It can be when it has ended."


def register(blueprint: Blueprint, connection: Redis) -> None:
    """Take the buttons' addresses. They are POST only, and guard.check_origin knows where from."""

    @blueprint.post("/job/<job_id>/requeue")
    def requeue_job(job_id: str) -> ResponseReturnValue:
        _requeue(job_id, connection)
        return _done("The job is queued again.")

    @blueprint.post("/job/<job_id>/delete")
    def delete_job(job_id: str) -> ResponseReturnValue:
        queues = ShownQueue.all(connection)
        if any(job_id in _running(queue.name, connection) for queue in queues):
            raise InvalidJobOperation(RUNS)
        with connection.pipeline() as pipeline:
            for queue in queues:
                pipeline.lrem(queue.key, 0, job_id)
                for registry in REGISTRIES.values():
                    pipeline.zrem(registry.key_template.format(queue.name), job_id)
            _delete_keys(job_id, pipeline)
            if not any(pipeline.execute()):
                raise NoSuchJobError
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
                _requeue(text(entry), connection)
                count += 1
            except NoSuchJobError:
                connection.zrem(failed, entry)
                vanished += 1
            except InvalidJobOperation:
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
            raise InvalidJobOperation(RUNS)
        if registry_name == "queued":
            count = int(ShownQueue(queue_name, connection=connection).empty())  # type: ignore[no-untyped-call]
            return _done(f"Jobs deleted: {count:,}.", count=count)
        key = REGISTRIES[registry_name].key_template.format(queue_name)
        entries = members(key, connection, 0, MOST_JOBS - 1)
        with connection.pipeline(transaction=False) as pipeline:
            for entry in entries:
                pipeline.zrem(key, entry)
                _delete_keys(text(entry), pipeline)
            pipeline.execute()
        return _done(f"Jobs deleted: {len(entries):,}." + _left(connection.zcard(key)), count=len(entries))

    @blueprint.post("/queue/<queue_name>/compact")
    def compact_queue(queue_name: str) -> ResponseReturnValue:
        # RQ's own takes the whole queue away and puts it back job by job: what if it is killed in between?
        key = ShownQueue(queue_name, connection=connection).key
        entries = connection.lrange(key, 0, MOST_JOBS - 1)
        with connection.pipeline(transaction=False) as pipeline:
            for entry in entries:
                pipeline.exists(Job.key_for(text(entry)))
            stale = [entry for entry, exists in zip(entries, pipeline.execute(), strict=True) if not exists]
            for entry in stale:
                pipeline.lrem(key, 0, cast("str", entry))
            pipeline.execute()
        return _done(f"Vanished jobs removed: {len(stale):,}.", count=len(stale))


def _requeue(job_id: str, connection: Redis) -> None:
    job = JsonJob.fetch(job_id, connection=connection)
    status = job.get_status(refresh=False)
    try:
        job.to_dict()  # RQ takes the job off the registry first, and then finds that it cannot write it
    except Exception as error:
        raise InvalidJobOperation(f"RQ cannot write this job again ({error}). Delete it.") from error
    try:
        job.requeue()
    except InvalidJobOperation:
        raise InvalidJobOperation(f"Only a failed job can be queued again; this one is {status.value}.") from None


def _running(queue_name: str, connection: Redis) -> set[str]:
    """The jobs that a worker of this queue was heard to run, lately enough."""
    entries = connection.zrangebyscore(StartedJobRegistry.key_template.format(queue_name), time.time(), "+inf")
    return {text(entry).partition(":")[0] for entry in cast("list[bytes]", entries)}  # <job>:<execution>


def _delete_keys(job_id: str, pipeline: Pipeline) -> None:
    """All that RQ keeps of a job, without reading it: what stands there may be anything, or nothing."""
    pipeline.delete(
        Job.key_for(job_id),
        Job.dependents_key_for(job_id),
        f"{Job.redis_job_namespace_prefix}:{job_id}:dependencies",
        Result.get_key(job_id),
        ExecutionRegistry.key_template.format(job_id),
    )


def _left(count: int) -> str:
    return f" Left: {count:,}; press again." if count > 0 else ""


def _done(message: str, **more: int) -> ResponseReturnValue:
    return jsonify({"status": "OK", "message": message} | more)
