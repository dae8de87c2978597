"""Requeues many failed tasks, at a limited rate: the job behind `POST /requeue`."""

from typing import Annotated

from pydantic import AwareDatetime, Field
from typing_extensions import TypedDict

from taskqueue.control.bulk import apply
from taskqueue.control.failed_tasks import FailedTasks, FailureFilter
from taskqueue.control.operations import Operations
from taskqueue.jobtypes.registry import MAX_TIMEOUT_SECONDS, job
from taskqueue.run.context import progress
from taskqueue.settings import process_settings
from taskqueue.store.connection import connect_for_requests
from taskqueue.tasks.running import current_task

NAME = "tq-requeue"


class Requeued(TypedDict):
    """How many tasks were requeued."""

    requeued: int
    gone: int  # deleted or requeued by others meanwhile


@job(NAME, timeout=MAX_TIMEOUT_SECONDS, io_bound=True)
def requeue_failed(
    type: str | None = None,  # noqa: A002  the query parameter's name
    queue: str | None = None,
    tag: str | None = None,
    failed_since: AwareDatetime | None = None,
    group: str | None = None,
    rate: Annotated[float, Field(gt=0)] | None = None,
) -> Requeued:
    """Requeue the failed tasks that fit, at most `rate` a second. Another attempt goes on with the rest."""
    settings = process_settings()
    task = current_task()
    connection = task.connection if task else connect_for_requests(settings.redis_url)
    wanted = FailureFilter(type=type, queue=queue, tag=tag, since=failed_since, group=group)
    task_ids = FailedTasks(connection, settings.queues).find(wanted)
    operations = Operations(connection, settings.failure_ttl_seconds)
    requeued = 0
    for number, was_requeued in enumerate(apply("requeue", task_ids, operations, rate), 1):
        requeued += was_requeued
        progress(number, len(task_ids), "requeuing")
    return {"requeued": requeued, "gone": len(task_ids) - requeued}
