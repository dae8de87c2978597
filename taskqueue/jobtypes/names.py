"""The name under which RQ stores a job type's function, and the way back."""

from taskqueue.errors import UnknownJobType
from taskqueue.jobtypes.registry import JobType, registered, system

CALL_PREFIX = "taskqueue.call."  # stored in Redis with every job: it must never change


def function_name(job_type: str) -> str:
    """Return the name under which RQ knows a job type's function: "taskqueue.call.email"."""
    return CALL_PREFIX + job_type


def job_type_name(function_name: str) -> str:
    """Return the job type that an RQ job calls; the function's own name where it calls something else."""
    return function_name.removeprefix(CALL_PREFIX)


def registered_type(function_name: str) -> JobType:
    """Return the job type that an RQ job calls. Raises `UnknownJobType`.

    Besides `taskqueue.call.email`, the function's own path (`jobs.email.send_email`) is understood, so that
    `rq enqueue` can be used by hand.
    """
    name = job_type_name(function_name)
    if name != function_name:
        for types in (registered, system):
            if name in types:
                return types[name]
    for job_type in registered.values():
        if job_type.path == function_name:
            return job_type
    raise UnknownJobType(name, sorted(registered))
