"""Background jobs on RQ. The author of an application needs only the names of this module:

from taskqueue import job, progress, PermanentFailure

@job("greet")
def greet(name: str) -> str:
    progress(1, 2, "thinking")
    return f"Hello, {name}!"
"""

from taskqueue.errors import PermanentFailure, RetryLater, TaskQueueError
from taskqueue.jobtypes.registry import job
from taskqueue.jobtypes.rq_callbacks import callback
from taskqueue.run.context import current_task, files, progress
from taskqueue.run.submit_from_job import submit

__all__ = [
    "PermanentFailure",
    "RetryLater",
    "TaskQueueError",
    "callback",
    "current_task",
    "files",
    "job",
    "progress",
    "submit",
]
