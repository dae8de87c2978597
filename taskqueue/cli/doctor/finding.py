"""What the doctor finds; and what it finds over Redis as over HTTP."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from taskqueue.monitor.cluster_state import LOST

MAX_SKEW_SECONDS = 2.0


class Finding(NamedTuple):
    """One thing that was looked at; `mend` says what to do where it is not well."""

    about: str
    ok: bool | None  # None: it cannot be seen from here
    found: str
    mend: str = ""


def of_queue(queue: Mapping[str, Any]) -> Finding:
    """Of a queue, as `Client.queues` tells it."""
    name, workers, paused = queue["name"], queue["workers"], queue["paused"]
    found = (
        f"{workers} {'worker' if workers == 1 else 'workers'}, {queue['queued']} queued, {queue['failed']} failed"
    )
    mend = (
        f"It is paused. POST /queues/{name}/resume lets it go on."
        if workers
        else f"Nobody takes tasks from it: python worker.py --queues {name}"
    )
    return Finding(f"queue {name}", workers > 0 and not paused, found + (", paused" if paused else ""), mend)


def of_workers(workers: Sequence[Mapping[str, Any]]) -> Iterator[Finding]:
    """Of all workers, as `Client.workers` tells them."""
    live = [worker for worker in workers if worker["state"] != LOST]
    horses, busy = sum(worker["horses"] for worker in live), sum(len(worker["tasks"]) for worker in live)
    found = f"{len(live)} live; {busy} of {horses} work-horses run a task"
    yield Finding("workers", bool(live), found, "Start one: python worker.py")
    for lost in (worker for worker in workers if worker["state"] == LOST):
        mend = (
            "It was killed, out of memory or cut off. Another one takes its tasks over; start one if none lives."
        )
        yield Finding("lost worker", False, f"{lost['name']} is silent since {lost['last_heartbeat']}", mend)


def clock(ok: bool, found: str) -> Finding:
    """Whether two machines have the same time."""
    mend = "Let both machines take the time from NTP: tasks that wait for their time begin wrong."
    return Finding("clock", ok, found, mend)


WORKERS_SUSPENDED = Finding("suspended", False, "all workers pause", "`rq resume` lets them go on.")


def scheduler(ok: bool, found: str) -> Finding:
    """Whether what is due is moved."""
    mend = "Tasks that wait for their time, and retries, do not move. Start a worker."
    return Finding("scheduler", ok, found, mend)


def eviction(ok: bool, found: str) -> Finding:
    """What a full Redis does."""
    mend = "With this policy a full Redis throws tasks away: CONFIG SET maxmemory-policy noeviction"
    return Finding("eviction", ok, found, mend)


def persistence(ok: bool, found: str) -> Finding:
    """What a restart of Redis leaves."""
    mend = "A restart of Redis loses what has happened since: CONFIG SET appendonly yes"
    return Finding("persistence", ok, found, mend)


def memory(used: float, limit: float) -> Finding:
    """How full Redis is, in bytes; a limit of 0 is none."""
    found = f"{used / 2**20:,.0f} MiB used" + (f" of {limit / 2**20:,.0f}" if limit else ", no limit")
    mend = "Give it more, or keep results for a shorter time (RESULT_TTL_SECONDS)."
    return Finding("memory", not limit or used < 0.9 * limit, found, mend)
