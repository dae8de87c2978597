"""Background jobs on RQ. What an application's author needs is here:

from taskqueue import job, progress, files, PermanentFailure
"""

from taskqueue.context import current_task, files, progress
from taskqueue.errors import PermanentFailure, TaskQueueError
from taskqueue.job_types import job

__all__ = ["PermanentFailure", "TaskQueueError", "current_task", "files", "job", "progress"]
