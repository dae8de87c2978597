"""Finds tasks by fields of their payloads: `@job(…, index=["customer_id"])` makes the tag `customer_id:4711`."""

from taskqueue.enqueue.options import TAG, SubmitOptions
from taskqueue.jobtypes.registry import JobType
from taskqueue.jobtypes.signature import Json


def with_index(job_type: JobType, payload: Json, options: SubmitOptions) -> SubmitOptions:
    """Return the options with a tag for each field in the job type's index.

    A value that makes no tag (too long, with spaces, a list, a secret) is left out: the task can still be found by
    its other tags.
    """
    shown = job_type.shown(payload)
    if not isinstance(shown, dict):
        return options
    tags = [
        tag
        for field in job_type.index
        if isinstance(value := shown.get(field), str | int) and TAG.fullmatch(tag := f"{field}:{value}")
    ]
    return options.model_copy(update={"tags": tuple(dict.fromkeys((*options.tags, *tags)))}) if tags else options
