"""Announces that a task has changed, on a channel of the task's own.

A message says only that it is time to read the task again; Redis drops it if nobody listens. A stock RQ worker
publishes none, so a watcher also reads the task again by itself, every second or two.
"""

from redis import Redis

from taskqueue.store.keys import CHANGES_CHANNEL


def changes_channel(task_id: str) -> str:
    """Return the channel on which the changes of a task are published."""
    return CHANGES_CHANNEL + task_id


def publish_change(connection: Redis, task_id: str, what: str) -> None:
    """Publish that a task has changed; `connection` may be a pipeline. Raises the driver's errors."""
    connection.publish(changes_channel(task_id), what)
