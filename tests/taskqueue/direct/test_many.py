"""Many tasks are submitted as one batch."""

import asyncio
from collections.abc import Callable
from datetime import date
from typing import Any

import pytest
from redis import Redis

from taskqueue import submit_many
from taskqueue.errors import InvalidBatch, InvalidOptions, InvalidPayload, UnknownJobType
from tests.sample_jobs.samples import Week, chatty, double, week

pytestmark = pytest.mark.usefixtures("env", "job_types")


def test_a_batch_takes_tasks_with_and_without_options_and_dicts(work: Callable[..., str]) -> None:
    batch = submit_many(
        [
            double.task(1),
            double.options(tags=["two"], queue="low").task(2),
            {"task_type": "week", "payload": {"of": "2026-11-23"}, "tags": ["three"]},
        ],
        then=double.options(tags=["then"]).task(4),
    )
    assert batch.refresh().counts["queued"] == 3
    assert batch.then.refresh().tags == ("then",)
    assert [handle.refresh().tags for handle in batch.tasks] == [(), ("two",), ("three",)]
    work()
    week_of = Week(date(2026, 11, 23), date(2026, 11, 29))
    assert [handle.result(timeout=5) for handle in batch.tasks] == [2, 4, week_of]
    assert asyncio.run(batch.arefresh()).counts["complete"] == 3


@pytest.mark.parametrize(
    ("tasks", "pointer", "message"),
    [
        ([double.task(1), week.task(of="soon")], "/1/payload/of", "Input should be a valid date"),
        ([double.task(1), {"task_type": "emial"}], "/1/task_type", "There is no task type 'emial'"),
        (
            [{"task_type": "generic", "payload": {"day": date(2026, 11, 24)}}],
            "/0/payload",
            "not JSON serializable",
        ),
        ([double.task(1), chatty.task("x" * 2**20)], "/1/payload", "larger than 1,048,576 bytes"),
        ([{"task_type": "generic", "tegs": []}], "/0/tegs", "Extra inputs"),
        ([], "", "There are no tasks"),
    ],
)
def test_one_wrong_task_keeps_all_from_being_queued(
    tasks: list[Any], pointer: str, message: str, redis: Redis
) -> None:
    with pytest.raises(InvalidBatch) as error:
        submit_many(tasks, then=double.task(1))
    assert error.value.errors[0].pointer == pointer
    assert message in error.value.errors[0].message
    assert redis.keys("rq:*") == []


def test_a_wrong_last_task_keeps_all_from_being_queued(redis: Redis) -> None:
    with pytest.raises(InvalidPayload, match="/of: "):
        submit_many([double.task(1)], then=week.task(of="soon"))  # type: ignore[arg-type,unused-ignore]
    with pytest.raises(InvalidOptions, match="delay: `then` runs when the others have ended"):
        submit_many([double.task(1)], then=double.options(delay=5).task(1))
    with pytest.raises(UnknownJobType):
        submit_many([double.task(1)], then={"task_type": "emial"})
    assert redis.keys("rq:*") == []
