"""What the doctor checks, and the checks that it makes over Redis as well as over HTTP."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple, cast

from taskqueue.monitor.cluster_state import LOST
from taskqueue.monitor.finding import (
    Finding,
    counted,
    no_relay,
    no_scheduler,
    no_worker,
    not_persistent,
    queue_paused,
    relay_fails,
    relay_late,
    set_aside,
    suspended,
    type_paused,
    worker_lost,
)
from taskqueue.monitor.outboxes import Outbox
from taskqueue.store.hosts import SHOWN, HostKind

MAX_SKEW_SECONDS = 2.0
LATE_SECONDS = 30.0  # a task that has waited in an outbox for longer is a finding


class Check(NamedTuple):
    """A check: what it is about, whether it is ok, what was found, and what to do if it is not ok.

    `fix` may have several lines, one for each thing to do.
    """

    about: str
    ok: bool | None  # None: it cannot be seen from here
    found: str
    fix: str = ""

    def json(self) -> dict[str, Any]:
        """Return the check for a program; `mend` is the old name of `fix`."""
        return {**self._asdict(), "mend": self.fix}


def failed(about: str, finding: Finding) -> Check:
    """Return a check that is not ok because of a finding."""
    return Check(about, False, finding.message, finding.fix)


def queue(row: Mapping[str, Any]) -> Check:
    """Check a queue, a row of `Client.queues`: does a worker take its tasks, and is it paused?"""
    name, workers, paused = row["name"], row["workers"], row["paused"]
    found = f"{counted(workers, 'worker')}, {row['queued']} queued, {row['failed']} failed"
    findings = [*(() if workers else [no_worker(name)]), *([queue_paused(name)] if paused else ())]
    fix = "\n".join(finding.text for finding in findings)
    return Check(f"queue {name}", not findings, found + (", paused" if paused else ""), fix)


def task_types(rows: Sequence[Mapping[str, Any]]) -> Iterator[Check]:
    """Check the task types, rows of `GET /limits`: is one paused, and have the limits of one been changed?"""
    for row in rows:
        name, held = row["task_type"], counted(row["held"], "task")
        if row["paused"]:
            yield failed(f"type {name}", type_paused(name))
        if row["changed_at"]:
            limits, code = ((row[f"{of}concurrency"], row[f"{of}rate"]) for of in ("", "code_"))
            found = f"its limits are {_limits(*limits)}; those of the code are {_limits(*code)}; {held} held"
            yield Check(f"limits of {name}", True, found)


def _limits(concurrency: int | None, rate: str | None) -> str:
    given = (f"{name}={value}" for name, value in (("concurrency", concurrency), ("rate", rate)) if value)
    return " and ".join(given) or "none"


def workers(rows: Sequence[Mapping[str, Any]]) -> Iterator[Check]:
    """Check all workers, the rows of `Client.workers`: does one live, and is one lost?"""
    live = [worker for worker in rows if worker["state"] != LOST]
    horses, busy = sum(worker["horses"] for worker in live), sum(len(worker["tasks"]) for worker in live)
    found = f"{len(live)} live; {busy} of {counted(horses, 'work-horse')} busy"
    yield Check("workers", bool(live), found, "Start one: python -m taskqueue worker")
    for lost in (worker for worker in rows if worker["state"] == LOST):
        yield failed("lost worker", worker_lost(lost["name"], lost["last_heartbeat"], taken_over=bool(live)))


def workers_suspended() -> Check:
    """Return the check that finds all workers suspended."""
    return failed("suspended", suspended())


def hosts(paused: Mapping[str, int], details: Sequence[str] = ()) -> Check:
    """Check whether hosts that tasks need have failed: how many by kind and, where they are known, which.

    A receiver of callbacks is its client's affair, so it makes nothing wrong here.
    """
    down = {kind: number for kind, number in paused.items() if number}
    found = ", ".join(f"{SHOWN.get(cast('HostKind', kind), kind)}: {number}" for kind, number in down.items())
    found = (
        f"tasks wait for hosts that do not answer ({found})" if found else "no task waits for a host that failed"
    )
    fix = "See why a task waits: GET /tasks/<id>/explain"
    return Check("hosts", not down.keys() - {"callback"}, found, "\n".join(details) or fix)


def clock(ok: bool, found: str) -> Check:
    """Check whether two machines have the same time."""
    fix = "Synchronize both machines with NTP: delayed tasks and retries begin at wrong times."
    return Check("clock", ok, found, fix)


def scheduler(ok: bool, found: str, *missing: str) -> Check:
    """Check whether due tasks are moved to their queues; `missing`: to which queues they are not, if known."""
    return Check("scheduler", ok, found, no_scheduler(*missing).text)


def eviction(ok: bool, found: str) -> Check:
    """Check what a full Redis does."""
    fix = "With this policy a full Redis deletes tasks: CONFIG SET maxmemory-policy noeviction"
    return Check("eviction", ok, found, fix)


def persistence(ok: bool, found: str, *, snapshots: bool) -> Check:
    """Check whether tasks survive a restart of Redis; `snapshots`: it may write some."""
    return Check("persistence", ok, found, not_persistent(snapshots=snapshots).text)


def memory(used: float, limit: float) -> Check:
    """Check how full Redis is, in bytes; a limit of 0 means no limit."""
    found = f"{used / 2**20:,.0f} MiB used" + (f" of {limit / 2**20:,.0f}" if limit else ", no limit")
    fix = "Give Redis more memory, or keep results for a shorter time (RESULT_TTL_SECONDS)."
    return Check("memory", not limit or used < 0.9 * limit, found, fix)


def outbox(state: Outbox, now: float) -> Check:
    """Check an outbox at a time in seconds since 1970: is it relayed, without errors and in time?"""
    report, seconds = state.report, state.oldest_seconds(now)
    findings = [
        *([] if state.is_relayed else [no_relay(state.name)]),
        *([relay_fails(report.error)] if report.error else []),
        *([relay_late(report.waiting, seconds)] if seconds > LATE_SECONDS else []),
        *([set_aside(report.set_aside, report.table)] if report.set_aside else []),
    ]
    found = f"{counted(report.waiting, 'task')} waiting, {report.set_aside} set aside"
    fix = "\n".join(finding.text for finding in findings)
    return Check(f"outbox {state.name}", not findings, found, fix)
