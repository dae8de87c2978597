"""The job that this process runs, for the log and for the job's own code."""

from rq import get_current_job
from rq.job import Job


class _Horse:
    """The job of a work-horse, which runs one at a time; elsewhere none."""

    job: Job | None = None


def set_running_job(job: Job | None) -> None:
    """Set the job that this work-horse runs from now on; None: it runs none."""
    _Horse.job = job


def running_job() -> Job | None:
    """Return the job that runs here; None outside a worker.

    In a work-horse it is known in the threads that the job has started, too, where RQ knows of none.
    """
    return get_current_job() or _Horse.job
