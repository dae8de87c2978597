"""The name under which RQ stores a job type's function, and how to get from it to the job type."""

from taskqueue.errors import UnknownJobType
from taskqueue.jobtypes.registry import JobType, registered, system

CALL_PREFIX = "taskqueue.call."  # stored in Redis with every job: it must never change


def function_name(job_type: str) -> str:
    """Return the name under which RQ knows a job type's function: "taskqueue.call.email"."""
    return CALL_PREFIX + job_type


def job_type_name(function_name: str) -> str:
    """Return the name of the job type that an RQ job calls; the function's own name if it calls something else."""
    return function_name.removeprefix(CALL_PREFIX)


def registered_type(function_name: str) -> JobType:
    """Return the job type that an RQ job calls. Raises `UnknownJobType`.

    Besides `taskqueue.call.email` it may have the function's own path (`jobs.email.send_email`), so that
    `rq enqueue` works by hand.
    """
    name = job_type_name(function_name)
    if name != function_name:
        job_type = registered.get(name) or system.get(name)
        if job_type:
            return job_type
    for job_type in registered.values():
        if job_type.path == function_name:
            return job_type
    raise UnknownJobType(name, sorted(registered))
