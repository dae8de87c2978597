"""Hints that something of a task has changed: published on a channel of its own, to whoever watches that task.

A hint says only that it is time to look again; Redis drops it where nobody listens. A stock RQ worker publishes
none, so who watches also looks again by itself, every second or two.
"""

from redis import Redis

CHANNEL = "tq:task:"  # and the task's id


def channel(task_id: str) -> str:
    """Where the hints of a task are published."""
    return CHANNEL + task_id


def hint(connection: Redis, task_id: str, what: str) -> None:
    """Say that something of a task has changed; `connection` may be a pipeline."""
    connection.publish(channel(task_id), what)
