"""Background jobs on RQ. What an application's author needs is here:

from taskqueue import callback, files, job, progress, submit, PermanentFailure
"""

from taskqueue.callbacks import callback
from taskqueue.context import current_task, files, progress
from taskqueue.errors import PermanentFailure, TaskQueueError
from taskqueue.from_job import submit
from taskqueue.job_types import job

__all__ = ["PermanentFailure", "TaskQueueError", "callback", "current_task", "files", "job", "progress", "submit"]
