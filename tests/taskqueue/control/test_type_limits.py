"""Pauses of job types, and limits that are changed while workers run: held against the workers' own script."""

import itertools

import pytest
from redis import Redis

from taskqueue.control.type_limits import TypeControl
from taskqueue.enqueue.options import SubmitOptions
from taskqueue.enqueue.queue import TaskQueue
from taskqueue.errors import UnknownJobType
from taskqueue.jobtypes.limits import Limits, declare
from taskqueue.jobtypes.registry import JobTypes
from taskqueue.worker.maintenance.limit_releaser import LimitReleaser
from taskqueue.worker.settle_and_claim import Claimed, Outcome, SettleAndClaim

SHORT = ",generic:10,week:10,"


class Horse:
    """A process of a worker, which claims and settles."""

    def __init__(self, redis: Redis) -> None:
        self._settle_and_claim = SettleAndClaim(redis, "one", ["high", "default", "low"], 10)
        self._numbers = itertools.count(1)
        self.runs: list[Claimed] = []

    def claims(self, most: int = 1, short: str = "") -> list[str]:
        """Claim jobs; return their ids."""
        claimed = self._settle_and_claim(claim=f"claim{next(self._numbers)}", most=most, short=short).jobs
        self.runs += claimed
        return [each.id for each in claimed]

    def claims_all(self) -> list[str]:
        """Claim until nothing is left; return the ids in their order."""
        return [each for some in iter(self.claims, []) for each in some]

    def ends(self, job_id: str) -> None:
        run = next(each for each in self.runs if each.id == job_id)
        self.runs.remove(run)
        outcome = Outcome("finished", run.id, run.execution, "default", "generic", 1.0, 2.0, ttl=100)
        assert self._settle_and_claim([outcome]).settled == ["yes"]


@pytest.fixture
def horse(redis: Redis) -> Horse:
    return Horse(redis)


@pytest.fixture
def types(redis: Redis, job_types: JobTypes) -> TypeControl:
    declare(redis, job_types)
    return TypeControl(redis, job_types)


def submit(queue: TaskQueue, count: int, job_type: str = "generic") -> list[str]:
    payload = {"of": "2026-11-23"} if job_type == "week" else {}
    return [queue.submit(job_type, payload, SubmitOptions(queue="default")).id for _ in range(count)]


class TestPause:
    @pytest.mark.parametrize("job_type", ["generic", "two-at-a-time"])
    def test_no_job_of_the_type_begins_and_all_others_do(
        self, queue: TaskQueue, types: TypeControl, horse: Horse, job_type: str
    ) -> None:
        first, other, second = submit(queue, 1, job_type), submit(queue, 1, "week"), submit(queue, 1, job_type)
        types.pause(job_type)
        assert horse.claims_all() == other
        assert types.of(job_type).held == 2
        assert queue.get(first[0]).held_by_limit
        types.resume(job_type)
        assert horse.claims_all() == first + second
        assert types.of(job_type).held == 0

    def test_the_order_stays(self, queue: TaskQueue, types: TypeControl, horse: Horse) -> None:
        types.pause("generic")
        early = submit(queue, 5)
        assert horse.claims() == []
        late = submit(queue, 5)
        types.resume("generic")
        last = submit(queue, 2)
        assert horse.claims_all() == early + late + last

    def test_what_was_to_begin_next_is_held_again(
        self, queue: TaskQueue, types: TypeControl, horse: Horse
    ) -> None:
        tasks = submit(queue, 5)
        types.pause("generic")
        assert horse.claims() == []
        types.resume("generic")
        assert horse.claims() == tasks[:1]
        types.pause("generic")
        assert horse.claims() == []
        types.resume("generic")
        assert horse.claims_all() == tasks[1:]

    def test_jobs_that_run_go_on(self, queue: TaskQueue, types: TypeControl, horse: Horse) -> None:
        (task,) = submit(queue, 1)
        assert horse.claims() == [task]
        types.pause("generic")
        horse.ends(task)
        assert queue.get(task).status == "complete"

    def test_a_group_of_short_jobs_has_none_of_the_type(
        self, queue: TaskQueue, types: TypeControl, horse: Horse
    ) -> None:
        submit(queue, 100)
        assert len(horse.claims(8, SHORT)) == 8  # as they are without a pause
        types.pause("generic")
        assert horse.claims(8, SHORT) == []
        weeks = submit(queue, 100, "week")
        assert horse.claims(8, SHORT) == weeks[:8]

    def test_a_held_task_can_be_canceled(
        self, queue: TaskQueue, types: TypeControl, horse: Horse, redis: Redis
    ) -> None:
        from taskqueue.control.operations import Operations

        first, second = submit(queue, 2)
        types.pause("generic")
        assert horse.claims() == []
        Operations(redis, 100).cancel(first)
        assert types.of("generic").held == 1
        types.resume("generic")
        assert horse.claims_all() == [second]

    def test_many_held_jobs_are_released_a_thousand_at_a_time(
        self, queue: TaskQueue, types: TypeControl, horse: Horse, redis: Redis
    ) -> None:
        tasks = submit(queue, 1200)
        types.pause("generic")
        while horse.claims() or redis.llen("rq:queue:default"):
            pass
        types.resume("generic")
        assert redis.llen("rq:queue:default") == 1000
        claimed = horse.claims_all()
        LimitReleaser(redis).run()
        assert claimed + horse.claims_all() == tasks

    def test_the_type_must_exist(self, types: TypeControl) -> None:
        for act in (types.pause, types.resume, types.of, types.reset):
            with pytest.raises(UnknownJobType):
                act("nothing")


class TestChangedLimits:
    @pytest.mark.parametrize("job_type", ["generic", "two-at-a-time"])
    def test_a_concurrency_counts_what_runs_already(
        self, queue: TaskQueue, types: TypeControl, horse: Horse, job_type: str
    ) -> None:
        tasks = submit(queue, 6, job_type)
        running = horse.claims() + horse.claims()
        assert running == tasks[:2]
        types.change(job_type, Limits(concurrency=3))
        assert types.of(job_type).running == 2
        assert horse.claims_all() == tasks[2:3]
        horse.ends(running[0])
        assert horse.claims_all() == tasks[3:4]

    def test_what_was_to_begin_next_counts_for_a_lower_limit(
        self, queue: TaskQueue, types: TypeControl, horse: Horse
    ) -> None:
        tasks = submit(queue, 4, "two-at-a-time")
        assert horse.claims_all() == tasks[:2]
        for task in tasks[:2]:
            horse.ends(task)
        types.change("two-at-a-time", Limits(concurrency=1))
        assert horse.claims_all() == tasks[2:3]

    def test_a_rate_holds_what_is_too_early(self, queue: TaskQueue, types: TypeControl, horse: Horse) -> None:
        tasks = submit(queue, 5)
        types.change("generic", Limits(rate="2/hour"))
        assert horse.claims_all() == tasks[:2]
        state = types.of("generic")
        assert (state.rate, state.code_rate, state.held) == ("2/hour", None, 3)
        assert state.next_start
        assert state.changed_at
        types.reset("generic")
        assert horse.claims_all() == tasks[2:]
        assert types.of("generic").changed_at is None

    def test_wider_limits_let_held_jobs_begin_at_once(
        self, queue: TaskQueue, types: TypeControl, horse: Horse
    ) -> None:
        tasks = submit(queue, 5, "two-at-a-time")
        assert horse.claims_all() == tasks[:2]
        types.change("two-at-a-time", Limits(concurrency=4))
        assert horse.claims_all() == tasks[2:4]
        types.change("two-at-a-time", Limits())
        assert horse.claims_all() == tasks[4:]
        types.reset("two-at-a-time")
        assert types.of("two-at-a-time").running == 5  # all that run count again
        assert types.of("two-at-a-time").concurrency == 2

    def test_a_worker_that_starts_changes_neither_pauses_nor_changed_limits(
        self, queue: TaskQueue, types: TypeControl, horse: Horse, redis: Redis, job_types: JobTypes
    ) -> None:
        types.pause("week")
        types.change("two-at-a-time", Limits(concurrency=1))
        declare(redis, job_types)
        assert types.of("week").paused
        assert types.of("two-at-a-time").concurrency == 1
        types.reset("two-at-a-time")
        declare(redis, job_types)
        assert types.of("two-at-a-time").concurrency == 2
        types.resume("week")
        assert not types.of("week").paused

    def test_a_group_of_short_jobs_passes_no_limit(
        self, queue: TaskQueue, types: TypeControl, horse: Horse
    ) -> None:
        tasks = submit(queue, 100)
        types.change("generic", Limits(concurrency=1))
        assert horse.claims(8, SHORT) == tasks[:1]
        assert horse.claims(8, SHORT) == []
