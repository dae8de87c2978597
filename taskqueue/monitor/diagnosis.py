"""Why a task does not run, or how it ended: in words for people, and in codes for programs.

Positions and times are measured: a position is where the id stands in its queue, and a time comes from how many
tasks have ended in the last minute. What cannot be measured is not told.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import cast

from redis import Redis

from taskqueue.enqueue.queue import TaskQueue
from taskqueue.errors import UnknownTask
from taskqueue.jobtypes.limits import Limits, held_position, limit_usage
from taskqueue.jobtypes.registry import known_types
from taskqueue.monitor.cluster_state import LOST, ClusterState, QueueView
from taskqueue.settings import Settings
from taskqueue.store.connection import redis_errors
from taskqueue.store.keys import SUSPENDED, Status, queue_key, registry_key, scheduler_lock_key
from taskqueue.store.times import timestamp
from taskqueue.tasks.task import AttemptError, Task

MAX_LOOKED_THROUGH = 100_000  # of a queue: where the task stands behind these is not told
MEASURED_SECONDS = 60
POISON = "Poison job"  # engine/keeper.py begins so
OVERDUE = "It did not end at its time limit"  # engine/worker.py begins so


@dataclass(frozen=True)
class Reason:
    """One thing that is so."""

    code: str
    message: str


@dataclass(frozen=True, kw_only=True)
class Explanation:
    """The most important reason first."""

    id: str
    status: Status
    reasons: list[Reason]
    ahead: int | None = None  # tasks that are taken before this one
    seconds: float | None = None  # until it begins, if all goes on as in the last minute


class Explainer:
    """Explains tasks. One instance serves all threads of a process."""

    def __init__(self, connection: Redis, queue: TaskQueue, overview: ClusterState, settings: Settings) -> None:
        self._connection = connection
        self._queue = queue
        self._cluster_state = overview
        self._settings = settings

    def explain(self, task_id: str) -> Explanation:
        """Raises `UnknownTask`, `QueueUnavailable`."""
        task = self._queue.get(task_id)
        explain: dict[Status, Callable[[Task], Iterable[Reason]]] = {
            "scheduled": self._scheduled,
            "deferred": self._deferred,
            "processing": self._processing,
            "complete": self._complete,
            "failed": self._failed,
            "canceled": self._canceled,
        }
        with redis_errors():
            if task.status == "queued":
                return self._queued(task)
            return Explanation(id=task.id, status=task.status, reasons=list(explain[task.status](task)))

    def _held(self, task: Task) -> Explanation:
        """It was taken off its queue, and may not begin yet."""
        limits = self._queue.job_types[task.type].limits if task.type in self._queue.job_types else Limits()
        now = limit_usage(self._connection, task.type, limits)
        reasons = []
        if limits.concurrency and now.running >= limits.concurrency:
            told = f"{now.running} tasks of its type run, and no more may at the same time"
            reasons.append(Reason("concurrency", f"{told} (concurrency={limits.concurrency})."))
        if now.next_start:
            told = f"As many tasks of its type have begun as may ({limits.rate})"
            reasons.append(Reason("rate", f"{told}; the next one may at {timestamp(now.next_start)}."))
        if not reasons:
            reasons.append(Reason("limit", "It waited for a limit of its type, and begins within a second."))
        ahead = held_position(self._connection, task.type, task.id)
        return Explanation(id=task.id, status=task.status, reasons=reasons, ahead=ahead)

    def _queued(self, task: Task) -> Explanation:
        if task.held_by_limit:
            return self._held(task)
        queues = {queue.name: queue for queue in self._cluster_state.queues()}
        own = queues.get(task.queue)
        obstacles = list(self._obstacles(task, own))
        position = cast(
            "int | None",
            self._connection.lpos(queue_key(task.queue), task.id, maxlen=MAX_LOOKED_THROUGH),
        )
        if position is None:
            message = f"It is not among the first {MAX_LOOKED_THROUGH:,} of its queue, or is just being taken."
            return Explanation(
                id=task.id, status=task.status, reasons=[*obstacles, Reason("held_position-unknown", message)]
            )
        before = [queue for queue in queues.values() if self._comes_before(queue.name, task.queue)]
        ahead = position + sum(queue.tasks["queued"] for queue in before if not queue.paused)
        if obstacles:
            return Explanation(id=task.id, status=task.status, reasons=obstacles, ahead=ahead)
        ended = self._ended_lately([task.queue, *(queue.name for queue in before)])
        seconds = round(ahead * MEASURED_SECONDS / ended, 1) if ended else None
        return Explanation(
            id=task.id,
            status=task.status,
            reasons=[_behind(task, ahead, own, seconds)],
            ahead=ahead,
            seconds=seconds,
        )

    def _obstacles(self, task: Task, queue: QueueView | None) -> Iterator[Reason]:
        if self._connection.exists(SUSPENDED):
            yield Reason("suspended", "All workers are suspended; `rq resume` lets them go on.")
        if queue and queue.paused:
            yield Reason("queue-paused", f"Its queue {task.queue!r} is paused: POST /queues/{task.queue}/resume.")
        if queue is None or not queue.workers:
            message = f"No worker takes tasks from its queue {task.queue!r}. Start one: python worker.py"
            yield Reason("no-worker", message)

    def _comes_before(self, queue: str, other: str) -> bool:
        names = self._settings.queues
        return queue in names and other in names and names.index(queue) < names.index(other)

    def _ended_lately(self, queues: Iterable[str]) -> int:
        """How many tasks of these queues have ended in the last MEASURED_SECONDS, for good."""
        now = int(self._connection.time()[0])
        with self._connection.pipeline(transaction=False) as pipeline:
            for queue in queues:
                for registry, ttl in (
                    ("finished", self._settings.result_ttl_seconds),
                    ("failed", self._settings.failure_ttl_seconds),
                ):
                    # RQ keeps there when it forgets the task: its lifetime after its end.
                    pipeline.zcount(registry_key(registry, queue), now - MEASURED_SECONDS + ttl, now + ttl)
            return sum(pipeline.execute())

    def _scheduled(self, task: Task) -> Iterator[Reason]:
        due = timestamp(task.scheduled_for)
        if task.error:
            told = f"{_attempt(task)} has failed ({_words(task.error)}); the next one is due at {due}."
            yield Reason("waits-for-retry", told)
        else:
            yield Reason("delayed", f"It waits for its time: {due}.")
        if not self._connection.exists(scheduler_lock_key(task.queue)):
            message = f"Nobody moves what is due to the queue {task.queue!r}. Start a worker: python worker.py"
            yield Reason("no-scheduler", message)

    def _deferred(self, task: Task) -> Iterator[Reason]:
        for parent_id in task.depends_on:
            try:
                parent = self._queue.get(parent_id)
            except UnknownTask:
                yield Reason(
                    "parent-gone", f"It waits for the task {parent_id}, which is gone: it will never run."
                )
                continue
            if parent.status in ("failed", "canceled"):
                code = "parent-failed" if parent.status == "failed" else "parent-canceled"
                told = (
                    f"It waits for the task {parent_id}, which is {parent.status}; it runs if that is sent again."
                )
                yield Reason(code, told)
            elif parent.status != "complete":
                yield Reason("waits-for-parent", f"It waits for the task {parent_id}, which is {parent.status}.")
        if not task.depends_on:
            yield Reason("held", "It is held back until its batch is done, or somebody queues it.")

    def _processing(self, task: Task) -> Iterator[Reason]:
        worker = self._cluster_state.worker(task.worker) if task.worker else None
        if task.worker and (worker is None or worker.state == LOST):
            silent = f"silent since {timestamp(worker.last_heartbeat)}" if worker else "gone"
            own = next((queue for queue in self._cluster_state.queues() if queue.name == task.queue), None)
            obstacles = list(self._obstacles(task, own))
            when = "as soon as one can" if obstacles else "within seconds"
            message = f"Its worker {task.worker} is {silent}; another one takes the task over {when}."
            yield Reason("worker-lost", message)
            yield from obstacles
        else:
            since = f"since {timestamp(task.started_at)}"
            yield Reason("runs", f"{_attempt(task)} runs {since} on the worker {task.worker}.")

    def _complete(self, task: Task) -> Iterator[Reason]:
        yield Reason("complete", f"{_attempt(task)} succeeded at {timestamp(task.ended_at)}.")

    def _failed(self, task: Task) -> Iterator[Reason]:
        error = task.error
        if error and error.message.startswith(POISON):
            yield Reason("poison", error.message)
        elif error and error.message.startswith(OVERDUE):
            yield Reason("timeout", f"{_attempt(task)}: {error.message}")
        elif error and error.type.rpartition(".")[2] == "JobTimeoutException":
            yield Reason("timeout", f"{_attempt(task)} took longer than its time limit.")
        elif error:
            yield Reason("error", f"{_attempt(task)} failed: {_words(error)}.")
        if task.attempt < task.attempts:
            yield Reason("permanent", "It was not tried again: the job said that another attempt cannot help.")
        else:
            yield Reason("no-attempts-left", f"All its attempts ({task.attempts}) are used.")
        if _is_known(task.type):
            yield Reason("can-be-sent-again", f"POST /tasks/{task.id}/requeue sends it again.")
        else:
            message = f"There is no task type {task.type!r} any more: sent again it fails again, until there is."
            yield Reason("unknown-task-type", message)

    def _canceled(self, task: Task) -> Iterator[Reason]:
        if task.error and task.error.type == "Expired":
            yield Reason("expired", task.error.message)
        elif task.attempt:
            yield Reason("stopped", f"{_attempt(task)} was stopped on request, at {timestamp(task.ended_at)}.")
        else:
            yield Reason("canceled", "It was canceled before it began.")


def _behind(task: Task, ahead: int, queue: QueueView | None, seconds: float | None) -> Reason:
    workers = queue.workers if queue else 0
    told = "1 worker works" if workers == 1 else f"{workers} workers work"
    if not ahead:
        return Reason("next", f"It is the next of its queue {task.queue!r}; {told} on it.")
    when = (
        f"as fast as in the last minute it begins in about {seconds:,.0f} s"
        if seconds is not None
        else "none has ended in the last minute, so nobody can tell when it begins"
    )
    return Reason("behind", f"{ahead:,} tasks are taken before it, and {told} on its queue; {when}.")


def _is_known(job_type: str) -> bool:
    """What `rq enqueue` has put there names the function's path instead."""
    known = known_types()
    return job_type in known or any(one.path == job_type for one in known.values())


def _attempt(task: Task) -> str:
    return f"Attempt {task.attempt} of {task.attempts}"


def _words(error: AttemptError) -> str:
    return f"{error.type}: {error.message}".rstrip(": .")
