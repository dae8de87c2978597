"""What the command line says where the HTTP API refuses: what happened, and what to do at a shell."""

from taskqueue.errors import ApiRefused, QueueUnavailable, TaskQueueError

CORRECT = "Correct --url (or TASK_QUEUE_API)."
FIXES = {
    "no-key": "Set TASK_QUEUE_KEY to a key of this API.",
    "scope-missing": "Set TASK_QUEUE_KEY to a key that has this scope.",
    "other-task-type": "Set TASK_QUEUE_KEY to a key for this task type.",
    "no-answer": "Start the web server, or correct --url (or TASK_QUEUE_API).",
    "not-this-api": CORRECT,
}
"""What to do, by the kind of an `ApiRefused`."""
CHECK_REDIS = "Check the Redis of the web server (its TASK_QUEUE_URL)."


def found_and_fix(error: TaskQueueError) -> tuple[str, str]:
    """Return what happened and what to do, for an error that came over HTTP."""
    if isinstance(error, ApiRefused):
        return error.message, FIXES.get(error.kind, error.fix)
    return str(error), CHECK_REDIS if isinstance(error, QueueUnavailable) else ""
