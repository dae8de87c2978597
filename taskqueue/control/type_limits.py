"""Pauses job types, and changes their limits while they run. (A stock `rq worker` knows neither.)"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Literal

from redis import Redis
from rq.defaults import RQ_KEY_PREFIX

from taskqueue.errors import UnknownJobType
from taskqueue.jobtypes.limits import Limits, limit_usages, read_states
from taskqueue.jobtypes.registry import JobTypes
from taskqueue.store import scripts
from taskqueue.store.connection import redis_errors
from taskqueue.store.keys import LIMITED_TYPES, PAUSED
from taskqueue.store.times import rq_now

What = Literal["pause", "resume", "change", "reset"]


@dataclass(frozen=True, kw_only=True)
class TypeLimits:
    """The limits of a task type as they hold now, how much of them is used, and whether the type is paused."""

    task_type: str
    paused: bool
    paused_at: datetime | None
    concurrency: int | None
    """How many of its tasks run at the same time; null: no limit."""
    rate: str | None
    """How many of its tasks begin in a period, such as `10/minute`; null: no limit."""
    changed_at: datetime | None
    """When somebody changed the limits; null: they are those of the code."""
    code_concurrency: int | None
    code_rate: str | None
    running: int
    """How many run that count for `concurrency`; 0 without one."""
    held: int
    """How many tasks a worker has taken off their queue, and holds for the limits or the pause."""
    next_start: datetime | None
    """When `rate` lets another task begin; null: now."""


class TypeControl:
    """Pauses job types and changes their limits. Each method raises `UnknownJobType`, `QueueUnavailable`."""

    def __init__(self, connection: Redis, job_types: JobTypes) -> None:
        self._connection = connection
        self._job_types = job_types
        self._script = scripts.register(connection, "type_of", "limits", "set_limits")

    def all(self, sees: Callable[[str], bool] = lambda _: True) -> list[TypeLimits]:
        """Return the state of each job type for which `sees` is true, by name."""
        names = sorted(filter(sees, self._job_types))
        with redis_errors():
            states = read_states(self._connection, names)
            for name, state in states.items():
                if not (state.limits or state.changed_at):  # no worker has started yet that declares them
                    states[name] = replace(state, limits=self._job_types[name].limits)
            usages = limit_usages(self._connection, {name: state.limits for name, state in states.items()})
        return [
            TypeLimits(
                task_type=name,
                paused=state.stops,
                paused_at=state.paused_at,
                concurrency=state.limits.concurrency,
                rate=state.limits.rate,
                changed_at=state.changed_at,
                code_concurrency=self._job_types[name].limits.concurrency,
                code_rate=self._job_types[name].limits.rate,
                running=usages[name].running,
                held=usages[name].held,
                next_start=usages[name].next_start,
            )
            for name, state in states.items()
        ]

    def of(self, job_type: str) -> TypeLimits:
        """Return the state of one job type."""
        self._job_types.find(job_type)
        return self.all(job_type.__eq__)[0]

    def pause(self, job_type: str) -> None:
        """Pause a job type: none of its jobs begins from now on. Jobs that run go on."""
        self._set(job_type, "pause")

    def resume(self, job_type: str) -> None:
        """Resume a job type: its jobs begin again, in their order."""
        self._set(job_type, "resume")

    def change(self, job_type: str, limits: Limits) -> None:
        """Let other limits hold than those of the code, from now on until `reset`, also for new workers."""
        self._set(job_type, "change", limits)

    def reset(self, job_type: str) -> None:
        """Let the limits of the code hold again."""
        self._set(job_type, "reset", self._job_types.find(job_type).limits)

    def _set(self, job_type: str, what: What, limits: Limits = Limits()) -> None:  # noqa: B008  it is frozen
        if job_type not in self._job_types:
            raise UnknownJobType(job_type, sorted(self._job_types))
        arguments = [RQ_KEY_PREFIX, rq_now(), job_type, what, *limits.stored()]
        with redis_errors():
            self._script(keys=[LIMITED_TYPES, PAUSED], args=arguments)
