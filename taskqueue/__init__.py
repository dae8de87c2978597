"""Background jobs on RQ. The author of an application needs only the names of this module:

from taskqueue import job, progress, PermanentFailure

@job("greet")
def greet(name: str) -> str:
    progress(1, 2, "thinking")
    return f"Hello, {name}!"

greet.submit(name="Ada").result(timeout=5)
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from taskqueue.direct.by_name import asubmit, handle, submit
    from taskqueue.direct.handle import TaskHandle
    from taskqueue.direct.job_function import AsyncJob, Job, JobFunction, NewTask
    from taskqueue.direct.many import BatchHandle, asubmit_many, submit_many
    from taskqueue.direct.options import TaskOptions
    from taskqueue.errors import PermanentFailure, RetryLater, TaskQueueError
    from taskqueue.hooks.needs import Needs, needs
    from taskqueue.hooks.registry import around_job, around_process, when_failed
    from taskqueue.jobtypes.registry import job
    from taskqueue.jobtypes.rq_callbacks import callback
    from taskqueue.run.context import files, progress
    from taskqueue.run.files import StoredFile
    from taskqueue.run.parents import Parent, parents
    from taskqueue.settings import connect
    from taskqueue.tasks.running import CurrentTask, current_task

__all__ = [
    "AsyncJob",
    "BatchHandle",
    "CurrentTask",
    "Job",
    "JobFunction",
    "Needs",
    "NewTask",
    "Parent",
    "PermanentFailure",
    "RetryLater",
    "StoredFile",
    "TaskHandle",
    "TaskOptions",
    "TaskQueueError",
    "around_job",
    "around_process",
    "asubmit",
    "asubmit_many",
    "callback",
    "connect",
    "current_task",
    "files",
    "handle",
    "job",
    "needs",
    "parents",
    "progress",
    "submit",
    "submit_many",
    "when_failed",
]

# A module is imported when one of its names is used: pytest imports this package for the plugin in
# taskqueue/testing, also in projects whose tests do not use it, and `@job` needs nothing of what submits.
_MODULES = {
    "direct.by_name": ("asubmit", "handle", "submit"),
    "direct.handle": ("TaskHandle",),
    "direct.job_function": ("AsyncJob", "Job", "JobFunction", "NewTask"),
    "direct.many": ("BatchHandle", "asubmit_many", "submit_many"),
    "direct.options": ("TaskOptions",),
    "errors": ("PermanentFailure", "RetryLater", "TaskQueueError"),
    "hooks.needs": ("Needs", "needs"),
    "hooks.registry": ("around_job", "around_process", "when_failed"),
    "jobtypes.registry": ("job",),
    "jobtypes.rq_callbacks": ("callback",),
    "run.context": ("files", "progress"),
    "run.files": ("StoredFile",),
    "run.parents": ("Parent", "parents"),
    "settings": ("connect",),
    "tasks.running": ("CurrentTask", "current_task"),
}
_MODULE_OF = {name: module for module, names in _MODULES.items() for name in names}


def __getattr__(name: str) -> Any:
    if name in ("errors", "settings"):  # `import taskqueue; except taskqueue.errors.TaskFailed`
        return import_module(f"{__name__}.{name}")
    if name not in _MODULE_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{_MODULE_OF[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
