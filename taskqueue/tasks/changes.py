"""Tells whoever watches a task that something of it has changed, on a channel of the task's own.

A message says only that it is time to look again; Redis drops it where nobody listens. A stock RQ worker sends
none, so a watcher also looks again by itself, every second or two.
"""

from redis import Redis

from taskqueue.store.keys import CHANGES_CHANNEL


def changes_channel(task_id: str) -> str:
    """Return the channel on which the changes of a task are published."""
    return CHANGES_CHANNEL + task_id


def publish_change(connection: Redis, task_id: str, what: str) -> None:
    """Say that something of a task has changed; `connection` may be a pipeline."""
    connection.publish(changes_channel(task_id), what)
