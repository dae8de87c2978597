"""The facts that operators and clients must know, each worded once.

`POST /tasks` answers them as `warnings`, `GET /tasks/<id>/explain` as `reasons`, and the doctor prints them.
"""

from datetime import datetime
from typing import NamedTuple

from typing_extensions import TypedDict

from taskqueue.store.hosts import Host, Pause
from taskqueue.store.keys import OUTBOXES
from taskqueue.store.times import time_at, timestamp


class FindingJson(TypedDict):
    """A finding as HTTP clients see it."""

    code: str
    message: str


class Finding(NamedTuple):
    """A fact about a queue, a task or Redis: a code for programs, a message for people, and what fixes it.

    `fix` is empty where nothing is to be fixed. It may end with a command: then no full stop follows.
    """

    code: str
    message: str
    fix: str = ""

    @property
    def text(self) -> str:
        """Return the message and the fix in one line."""
        return f"{self.message} {self.fix}".rstrip()

    def json(self) -> FindingJson:
        """Return the code and the text, as HTTP clients see them."""
        return {"code": self.code, "message": self.text}


def suspended() -> Finding:
    """Return the finding that `rq suspend` holds all workers."""
    return Finding("suspended", "All workers are suspended.", "`rq resume` lets them go on.")


def queue_paused(queue: str) -> Finding:
    """Return the finding that a queue is paused."""
    return Finding("queue-paused", f"The queue {queue!r} is paused.", f"Resume it: POST /queues/{queue}/resume")


def type_paused(task_type: str) -> Finding:
    """Return the finding that a task type is paused."""
    message = f"The task type {task_type!r} is paused."
    return Finding("type-paused", message, f"Resume it: POST /task-types/{task_type}/resume")


def no_worker(queue: str) -> Finding:
    """Return the finding that no live worker takes tasks from a queue."""
    message = f"No worker takes tasks from the queue {queue!r}."
    return Finding("no-worker", message, f"Start one: python -m taskqueue worker --queues {queue}")


def no_scheduler(*queues: str) -> Finding:
    """Return the finding that no worker moves due tasks to these queues; none given: it is not known to which."""
    names = ", ".join(map(repr, queues))
    where = f"the queue{'s' if len(queues) > 1 else ''} {names}" if queues else "some queues"
    message = f"No worker moves delayed tasks and retries to {where} when they are due."
    return Finding("no-scheduler", message, "Start one: python -m taskqueue worker")


def worker_lost(name: str, last_heartbeat: datetime | str | None, *, taken_over: bool) -> Finding:
    """Return the finding that a worker has died; `taken_over`: another one can take its tasks now.

    `last_heartbeat` is None where Redis has forgotten the worker.
    """
    if isinstance(last_heartbeat, datetime):
        last_heartbeat = timestamp(last_heartbeat)
    state = f"has been silent since {last_heartbeat}" if last_heartbeat else "is gone"
    when = "within seconds" if taken_over else "as soon as one can"
    message = f"The worker {name} {state}: it was killed, ran out of memory or was cut off."
    return Finding("worker-lost", message, f"Another worker takes its tasks over {when}.")


def host_paused(host: Host, pause: Pause) -> Finding:
    """Return the finding that no task asks a host now."""
    since = f"The {host.shown} {pause.why} at {timestamp(time_at(pause.at))}"
    in_a_row = f" ({pause.failures} times in a row)" if pause.failures > 1 else ""
    then = "one task is asking it again" if pause.state == "asked" else f"next try in {pause.seconds:.0f} s"
    return Finding("waits-for-host", f"{since}{in_a_row}; {then}.")


def not_persistent(*, snapshots: bool = False) -> Finding:
    """Return the finding that a restart of Redis loses tasks; `snapshots`: it may lose the latest ones only."""
    message = (
        "Redis does not write each change to disk: its restart loses tasks."
        if snapshots
        else "Redis keeps nothing on disk: its restart loses all tasks."
    )
    return Finding("not-persistent", message, "Write each change: CONFIG SET appendonly yes")


def no_relay(outbox: str) -> Finding:
    """Return the finding that no worker relays an outbox."""
    message = "No worker relays this outbox: what is submitted to it does not run."
    fix = "Start a worker with OUTBOX_DATABASE_URL. If the outbox is no longer used: "
    return Finding("no-relay", message, f"{fix}HDEL {OUTBOXES} {outbox}")


def relay_fails(error: str) -> Finding:
    """Return the finding that the relay of an outbox gets an error."""
    fix = "Correct OUTBOX_DATABASE_URL or the database; the log of the worker that relays says more."
    return Finding("relay-fails", f"The relay gets an error: {error}.", fix)


def relay_late(waiting: int, seconds: float) -> Finding:
    """Return the finding that a task has waited in an outbox for long."""
    message = f"{counted(waiting, 'task')} waiting, the oldest for {seconds:,.0f} s."
    fix = "The log of the worker that relays says why; perhaps it waits for a worker with newer code."
    return Finding("relay-late", message, fix)


def set_aside(number: int, table: str) -> Finding:
    """Return the finding that tasks of an outbox cannot be queued."""
    return Finding(
        "set-aside",
        f"{counted(number, 'task')} cannot be queued, and set aside.",
        f"See why: SELECT id, task_type, set_aside FROM {table} WHERE set_aside IS NOT NULL\n"  # noqa: S608
        f"After a fix, queue them: UPDATE {table} SET set_aside = NULL; or delete them",
    )


def files_unavailable() -> Finding:
    """Return the finding that files cannot be stored. It names no bucket: /readyz is for everybody."""
    message = "The bucket or folder of FILES_URL does not answer, or refuses: tasks that need files fail."
    return Finding("files-unavailable", message, "The web server's log has the reason.")


def duplicate() -> Finding:
    """Return the finding that a dedupe key has found a task that was queued before."""
    message = "A task with this dedupe key is waiting or running already: the answer shows that task."
    return Finding("duplicate", message)


def parent_ended(parent_id: str, status: str | None = None) -> Finding:
    """Return the finding that a task depends on one that did not succeed; `status`: "failed" or "canceled"."""
    end = {"failed": "has failed", "canceled": "was canceled"}.get(status or "", "has ended without success")
    message = f"The task {parent_id}, on which this task depends, {end}."
    return Finding(
        f"parent-{status or 'ended'}",
        message,
        f"This task runs if that one is queued again and succeeds: POST /tasks/{parent_id}/requeue",
    )


def counted(number: int, noun: str) -> str:
    """Return the number and the noun: "1 task", "2,000 tasks"."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"
