"""Explains why a task does not run, or how it ended: sentences for people, codes for programs.

Positions and times are measured: a position is the index of the id in its queue, and a time comes from how many
tasks have ended in the last minute. What cannot be measured is null.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import cast

from redis import Redis

from taskqueue.enqueue.queue import TaskQueue
from taskqueue.errors import UnknownTask
from taskqueue.jobtypes.limits import Limits, held_position, limit_usage, read_states
from taskqueue.jobtypes.registry import known_types
from taskqueue.monitor.cluster_state import LOST, ClusterState, QueueView
from taskqueue.monitor.finding import (
    Finding,
    counted,
    host_paused,
    no_scheduler,
    no_worker,
    parent_ended,
    queue_paused,
    suspended,
    type_paused,
    worker_lost,
)
from taskqueue.settings import Settings
from taskqueue.store.connection import redis_errors
from taskqueue.store.hosts import Host, Hosts
from taskqueue.store.keys import (
    SUSPENDED,
    Field,
    Status,
    decoded,
    job_key,
    queue_key,
    registry_key,
    scheduler_lock_key,
)
from taskqueue.store.times import time_at, timestamp
from taskqueue.tasks.put_off import CALLBACK_PLACE, PutOff
from taskqueue.tasks.reason import ReasonCode
from taskqueue.tasks.task import AttemptError, Task

MAX_SEARCHED = 100_000  # ids from the front of a queue: further back the position is not known
MAX_COMPARED = 1000  # tasks just ahead of one, of which those of its type are counted
MEASURED_SECONDS = 60
POISON = "Poison job"  # settle_and_claim.py begins an error so
OVERDUE = "It did not end at its time limit"  # horses.py begins an error so


@dataclass(frozen=True, kw_only=True)
class Explanation:
    """Why a task does not run, or how it ended: the most important reason first."""

    id: str
    status: Status
    reasons: list[Finding]
    ahead: int | None = None  # tasks that are taken before this one
    seconds: float | None = None  # until it begins, at the pace of the last minute


class Explainer:
    """Explains tasks. One instance serves all threads of a process."""

    def __init__(
        self, connection: Redis, queue: TaskQueue, cluster_state: ClusterState, settings: Settings
    ) -> None:
        self._connection = connection
        self._queue = queue
        self._cluster_state = cluster_state
        self._settings = settings

    def explain(self, task_id: str) -> Explanation:
        """Return why a task does not run, or how it ended. Raises `UnknownTask`, `QueueUnavailable`."""
        task = self._queue.get(task_id)
        explain: dict[Status, Callable[[Task], Iterable[Finding]]] = {
            "scheduled": self._scheduled,
            "deferred": self._deferred,
            "processing": self._processing,
            "complete": self._complete,
            "failed": self._failed,
            "canceled": self._canceled,
        }
        with redis_errors():
            if task.status == "queued":
                return self._held(task) if task.held_by_limit else self._queued(task)
            return Explanation(id=task.id, status=task.status, reasons=list(explain[task.status](task)))

    def _held(self, task: Task) -> Explanation:
        """Explain a task that was taken off its queue and waits for a limit of its type."""
        state = read_states(self._connection, [task.type])[task.type]
        declared = self._queue.job_types[task.type].limits if task.type in self._queue.job_types else Limits()
        limits = state.limits if state.changed_at else declared
        usage = limit_usage(self._connection, task.type, limits)
        ahead = held_position(self._connection, task.type, task.id)
        reasons = list(self._obstacles(task, self._queue_view(task.queue)))
        position = (
            f"{counted(ahead, 'held task')} {_are(ahead)} ahead of it" if ahead else "no held task is ahead of it"
        )
        running = f"{counted(usage.running, 'task')} of its type {_are(usage.running)} running"
        if state.stops:
            return Explanation(id=task.id, status=task.status, reasons=reasons, ahead=ahead)
        at_limit = limits.concurrency and usage.running >= limits.concurrency
        if at_limit:
            message = f"{running}, and no more may run at a time (concurrency={limits.concurrency}); {position}."
            reasons.append(Finding("concurrency", message))
        if usage.next_start:
            message = f"As many tasks of its type have begun as may ({limits.rate}); the next may begin at"
            reasons.append(Finding("rate", f"{message} {timestamp(usage.next_start)}; {position}."))
        if not at_limit and not usage.next_start:
            running = f"; {running} (concurrency={limits.concurrency})" if limits.concurrency else ""
            reasons.append(Finding("limit", f"A limit of its type holds it{running}; {position}."))
        return Explanation(id=task.id, status=task.status, reasons=reasons, ahead=ahead)

    def _queued(self, task: Task) -> Explanation:
        queues = {queue.name: queue for queue in self._cluster_state.queues()}
        own = queues.get(task.queue)
        obstacles = list(self._obstacles(task, own))
        position = cast("int | None", self._connection.lpos(queue_key(task.queue), task.id, maxlen=MAX_SEARCHED))
        if position is None:
            message = f"It is not among the first {MAX_SEARCHED:,} of its queue, or a worker is just taking it."
            reasons = [*obstacles, Finding("place-unknown", message)]
            return Explanation(id=task.id, status=task.status, reasons=reasons)
        before = [queue for queue in queues.values() if self._comes_before(queue.name, task.queue)]
        ahead = position + sum(queue.tasks["queued"] for queue in before if not queue.paused)
        obstacles += self._places_taken(task, position)
        if obstacles:
            return Explanation(id=task.id, status=task.status, reasons=obstacles, ahead=ahead)
        ended = self._count_ended([task.queue, *(queue.name for queue in before)])
        seconds = round(ahead * MEASURED_SECONDS / ended, 1) if ended else None
        return Explanation(
            id=task.id,
            status=task.status,
            reasons=[_behind(task, ahead, own, seconds)],
            ahead=ahead,
            seconds=seconds,
        )

    def _places_taken(self, task: Task, position: int) -> Iterator[Finding]:
        """Yield why a task that is still in its queue could not begin at once if a worker took it."""
        limits = self._queue.job_types[task.type].limits if task.type in self._queue.job_types else Limits()
        if not limits:
            return
        usage = limit_usage(self._connection, task.type, limits)
        first, key = max(0, position - MAX_COMPARED), queue_key(task.queue)
        with self._connection.pipeline(transaction=False) as pipeline:
            for job_id in cast("list[bytes]", self._connection.lrange(key, first, position))[:-1]:
                pipeline.hget(job_key(decoded(job_id)), Field.LIMITED)
            before = sum(name == task.type.encode() for name in pipeline.execute()) + usage.held
        place = f"{counted(before, 'task')} of its type {_are(before)} ahead of it"
        if limits.concurrency and usage.running + before >= limits.concurrency:
            running = f"{counted(usage.running, 'task')} of its type {_are(usage.running)} running"
            limit = f"no more may run at a time (concurrency={limits.concurrency})"
            yield Finding("concurrency", f"{running}, and {limit}; {place}.")
        elif usage.next_start:
            message = f"As many tasks of its type have begun as may ({limits.rate}); the next may begin at"
            yield Finding("rate", f"{message} {timestamp(usage.next_start)}; {place}.")

    def _queue_view(self, name: str) -> QueueView | None:
        return next((queue for queue in self._cluster_state.queues() if queue.name == name), None)

    def _obstacles(self, task: Task, queue: QueueView | None) -> Iterator[Finding]:
        """Yield what keeps all tasks of a queue or of a type from running; None: the queue is not configured."""
        if self._connection.exists(SUSPENDED):
            yield suspended()
        if queue and queue.paused:
            yield queue_paused(task.queue)
        if read_states(self._connection, [task.type])[task.type].stops:
            yield type_paused(task.type)
        if queue is None or not queue.workers:
            yield no_worker(task.queue)

    def _comes_before(self, queue: str, other: str) -> bool:
        names = self._settings.queues
        return queue in names and other in names and names.index(queue) < names.index(other)

    def _count_ended(self, queues: Iterable[str]) -> int:
        """Return how many tasks of these queues have ended for good in the last MEASURED_SECONDS."""
        now = int(self._connection.time()[0])
        with self._connection.pipeline(transaction=False) as pipeline:
            for queue in queues:
                for registry, ttl in (
                    ("finished", self._settings.result_ttl_seconds),
                    ("failed", self._settings.failure_ttl_seconds),
                ):
                    # The score is when RQ forgets the task: its end and then its lifetime.
                    pipeline.zcount(registry_key(registry, queue), now - MEASURED_SECONDS + ttl, now + ttl)
            return sum(pipeline.execute())

    def _scheduled(self, task: Task) -> Iterator[Finding]:
        due = timestamp(task.scheduled_for)
        unknown_since, stored = cast(
            "list[bytes | None]", self._connection.hmget(job_key(task.id), Field.UNKNOWN_SINCE, Field.PUT_OFF)
        )
        put_off = PutOff.read(decoded(stored or b""))
        if put_off and put_off.attempt != task.attempt + 1:
            put_off = None  # that attempt was made meanwhile
        if put_off and put_off.cause == CALLBACK_PLACE:
            message = "A worker leaves one work-horse to other tasks, and callbacks hold the others, or it has one"
            yield Finding("waits-for-horse", f"{message}; this callback comes to its turn again at {due}.")
        elif put_off and (host := Host.of(put_off.cause)):
            yield self._host_paused(host, put_off, due)
        elif task.error and not task.attempt and unknown_since:
            message = f"No worker that has tried it knows its type, or one of its fields ({_words(task.error)})"
            yield Finding("waits-for-newer-code", f"{message}; one with newer code may take it at {due}.")
        elif task.error:
            message = f"{_attempt(task)} has failed ({_words(task.error)}); the next attempt is due at {due}."
            yield Finding("waits-for-retry", message)
        else:
            yield Finding("delayed", f"It waits until it is due at {due}.")
        if not self._connection.exists(scheduler_lock_key(task.queue)):
            yield no_scheduler(task.queue)

    def _host_paused(self, host: Host, put_off: PutOff, due: str | None) -> Finding:
        pause = Hosts(self._connection).look(host)
        if pause.is_open:
            message = f"It waited for the {host.shown}, which may be asked again; it comes to its turn at {due}."
            return Finding("waits-for-host", message)
        finding = host_paused(host, pause)
        since = timestamp(time_at(put_off.since))
        return finding._replace(message=f"{finding.message} It has waited since {since}, no attempt used.")

    def _deferred(self, task: Task) -> Iterator[Finding]:
        for parent_id in task.depends_on:
            try:
                parent = self._queue.get(parent_id)
            except UnknownTask:
                message = f"It depends on the task {parent_id}, which does not exist any more: it will never run."
                yield Finding("parent-gone", message)
                continue
            if parent.status in ("failed", "canceled"):
                yield parent_ended(parent_id, parent.status)
            elif parent.status != "complete":
                yield Finding("waits-for-parent", f"It waits for the task {parent_id}, which is {parent.status}.")
        if not task.depends_on:
            yield Finding(
                "held", "It is held back until all tasks of its batch have ended, or somebody queues it."
            )

    def _processing(self, task: Task) -> Iterator[Finding]:
        worker = self._cluster_state.worker(task.worker) if task.worker else None
        if task.worker and (worker is None or worker.state == LOST):
            obstacles = list(self._obstacles(task, self._queue_view(task.queue)))
            yield worker_lost(task.worker, worker.last_heartbeat if worker else None, taken_over=not obstacles)
            yield from obstacles
        else:
            message = f"{_attempt(task)} has been running since {timestamp(task.started_at)}"
            yield Finding("runs", f"{message} on the worker {task.worker}.")

    def _complete(self, task: Task) -> Iterator[Finding]:
        yield Finding("complete", f"{_attempt(task)} succeeded at {timestamp(task.ended_at)}.")

    def _failed(self, task: Task) -> Iterator[Finding]:
        error = task.error
        code = error and (task.reason or _reason_by_words(error))
        if error and code == ReasonCode.POISON:
            yield Finding("poison", error.message)
        elif error and code == ReasonCode.TIMEOUT and _is_raised_timeout(error):
            yield Finding("timeout", f"{_attempt(task)} took longer than its time limit.")
        elif error and code == ReasonCode.TIMEOUT:
            yield Finding("timeout", f"{_attempt(task)}: {error.message}")
        elif error:
            yield Finding("error", f"{_attempt(task)} failed: {_words(error)}.")
        if task.attempt < task.attempts:
            yield Finding("permanent", "It was not tried again: the job said that another attempt cannot help.")
        else:
            yield Finding("no-attempts-left", f"All its attempts ({task.attempts}) are used.")
        if _is_known(task.type):
            yield Finding("can-be-sent-again", f"POST /tasks/{task.id}/requeue sends it again.")
        else:
            message = f"There is no task type {task.type!r} any more: sent again it fails again, until there is."
            yield Finding("unknown-task-type", message)

    def _canceled(self, task: Task) -> Iterator[Finding]:
        if task.error and task.error.type == "Expired":
            yield Finding("expired", task.error.message)
        elif task.attempt:
            yield Finding("stopped", f"{_attempt(task)} was stopped on request, at {timestamp(task.ended_at)}.")
        else:
            yield Finding("canceled", "It was canceled before it began.")


def _behind(task: Task, ahead: int, queue: QueueView | None, seconds: float | None) -> Finding:
    workers = queue.workers if queue else 0
    at_work = f"{counted(workers, 'worker')} {'takes' if workers == 1 else 'take'} tasks from its queue"
    if not ahead:
        return Finding("next", f"No task is ahead of it; {at_work} {task.queue!r}.")
    when = (
        f"at the pace of the last minute it begins in about {seconds:,.0f} s"
        if seconds is not None
        else "no task has ended in the last minute, so nobody can tell when it begins"
    )
    return Finding(
        "behind", f"{counted(ahead, 'task')} {_are(ahead)} ahead of it, and {at_work} {task.queue!r}; {when}."
    )


def _are(number: int) -> str:
    return "is" if number == 1 else "are"


def _reason_by_words(error: AttemptError) -> ReasonCode:
    """Return why a task failed that has no reason code: an older version, or a stock RQ worker, has settled it."""
    if error.message.startswith(POISON):
        return ReasonCode.POISON
    if error.message.startswith(OVERDUE) or _is_raised_timeout(error):
        return ReasonCode.TIMEOUT
    return ReasonCode.ERROR


def _is_raised_timeout(error: AttemptError) -> bool:
    return error.type.rpartition(".")[2] == "JobTimeoutException"


def _is_known(job_type: str) -> bool:
    """Return whether there is such a job type; `rq enqueue` writes the function's path in its place."""
    known = known_types()
    return job_type in known or any(entry.path == job_type for entry in known.values())


def _attempt(task: Task) -> str:
    return f"Attempt {task.attempt} of {task.attempts}"


def _words(error: AttemptError) -> str:
    return f"{error.type}: {error.message}".rstrip(": .")
