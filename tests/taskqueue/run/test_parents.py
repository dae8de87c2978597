"""A job reads the results of the tasks that it has waited for."""

from collections.abc import Callable
from datetime import date
from typing import Any

import pytest
from flask.testing import FlaskClient
from redis import Redis

from taskqueue import parents, submit_many
from taskqueue.errors import OutsideOfJob, TaskFailed
from tests.conftest import wait_until
from tests.sample_jobs.samples import Week, double, hopeless, slow, sums, tells_outcomes, week, weeks_of_parents

pytestmark = pytest.mark.usefixtures("env", "job_types")


def test_outside_of_a_job_there_are_no_parents() -> None:
    with pytest.raises(OutsideOfJob, match=r"parents\(\) works only in a job"):
        parents()


def test_results_come_in_the_order_of_depends_on(work: Callable[..., str]) -> None:
    first, second = double.submit(1), double.submit(20)
    total = sums.options(depends_on=[second, first]).submit()
    work()
    assert total.result(timeout=5) == [40, 2]


def test_a_parent_that_had_ended_before_counts_too(work: Callable[..., str]) -> None:
    first = double.submit(1)
    work()
    total = sums.options(depends_on=[first]).submit()
    work()
    assert total.result(timeout=5) == [2]


def test_a_task_without_parents_has_none(work: Callable[..., str]) -> None:
    total = sums.submit()
    work()
    assert total.result(timeout=5) == []


def test_results_have_the_type_of_the_function_and_may_be_those_of_one_job(work: Callable[..., str]) -> None:
    ids = [double.submit(1), week.submit(of=date(2026, 11, 23))]
    total = weeks_of_parents.options(depends_on=ids).submit()
    work()
    assert total.result(timeout=5) == [Week(date(2026, 11, 23), date(2026, 11, 29))]


def test_what_failed_is_told_with_allow_failure(work: Callable[..., str]) -> None:
    ids = [double.submit(1), hopeless.submit()]
    outcomes = tells_outcomes.options(depends_on=ids, allow_failure=True).submit()
    plain = sums.options(depends_on=ids, allow_failure=True, attempts=1).submit()
    work()
    assert outcomes.result(timeout=5) == [
        ["double", "complete", 2, None],
        ["hopeless", "failed", None, "TaskFailed"],
    ]
    with pytest.raises(TaskFailed, match=r"TaskFailed: .*\(hopeless\) has failed: .*the page is gone"):
        plain.result(timeout=5)


def test_the_then_of_a_batch_reads_thousands_of_results_page_by_page(
    redis: Redis, work: Callable[..., str]
) -> None:
    batch = submit_many([double.task(number) for number in range(1, 1201)], then=sums.task())
    work()
    wait_until(lambda: batch.refresh().ended_at or work(), what="the batch")
    work()
    assert batch.then.result(timeout=10) == [2 * number for number in range(1, 1201)]


def test_a_batch_tells_what_failed_was_canceled_or_is_gone(redis: Redis, work: Callable[..., str]) -> None:
    batch = submit_many(
        [double.task(1), hopeless.task(), slow.task(1), double.task(2)], then=tells_outcomes.task()
    )
    batch.tasks[2].cancel()
    work("--queues", "high,default,low")
    redis.delete(f"rq:job:{batch.tasks[3].id}")
    wait_until(lambda: batch.then.status() == "complete" or work(), what="the batch")
    outcomes = batch.then.result()
    assert outcomes[:3] == [
        ["double", "complete", 2, None],
        ["hopeless", "failed", None, "TaskFailed"],
        ["slow", "canceled", None, "TaskCanceled"],
    ]


def test_over_http_parents_are_listed_page_by_page(client: FlaskClient, work: Callable[..., str]) -> None:
    batch = submit_many([double.task(number) for number in range(5)], then=sums.task())
    work()
    address, listed = f"/tasks/{batch.then.id}/parents?limit=2", []
    while address:
        page = client.get(address).get_json()
        assert len(page["parents"]) <= 2
        listed += page["parents"]
        address = page["next"]
    assert [parent["id"] for parent in listed] == [handle.id for handle in batch.tasks]
    assert [(parent["type"], parent["status"], parent["result"]) for parent in listed] == [
        ("double", "complete", 2 * number) for number in range(5)
    ]


def test_over_http_a_failed_parent_has_its_error(client: FlaskClient, work: Callable[..., str]) -> None:
    failed = hopeless.submit()
    child = sums.options(depends_on=[failed], allow_failure=True).submit()
    work()
    page: Any = client.get(f"/tasks/{child.id}/parents").get_json()
    (parent,) = page["parents"]
    assert (parent["id"], parent["status"], parent["result"]) == (failed.id, "failed", None)
    assert parent["error"]["type"].endswith("PermanentFailure")
    assert page["next"] is None
    assert client.get("/tasks/nobody/parents").status_code == 404
    assert client.get(f"/tasks/{failed.id}/parents").get_json() == {"parents": [], "next": None}


def test_over_http_more_than_100_parents_are_refused_with_the_way_to_have_them(client: FlaskClient) -> None:
    ids = ",".join(str(number) for number in range(101))
    answer = client.post(f"/tasks?task_type=generic&depends_on={ids}", json={})
    assert answer.status_code == 400
    assert "Queue them as a batch instead, with this task as its on_complete" in answer.get_data(as_text=True)
