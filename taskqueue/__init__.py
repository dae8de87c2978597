"""Background jobs on RQ. What an application's author needs is here:

from taskqueue import callback, job, progress, submit, PermanentFailure, files
"""

from taskqueue.errors import PermanentFailure, TaskQueueError
from taskqueue.jobtypes.registry import job
from taskqueue.jobtypes.rq_callbacks import callback
from taskqueue.run.context import current_task, files, progress
from taskqueue.run.submit_from_job import submit

__all__ = ["PermanentFailure", "TaskQueueError", "callback", "current_task", "files", "job", "progress", "submit"]
