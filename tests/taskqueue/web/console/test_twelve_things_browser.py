"""The twelve things done in an incident, each with at most the clicks of the best console of the field.

Typing a search is no click.
"""

from collections.abc import Callable

from redis import Redis
from selenium.webdriver.support.select import Select

from taskqueue.enqueue.options import SubmitOptions
from taskqueue.enqueue.queue import TaskQueue
from taskqueue.jobtypes.registry import JobTypes
from taskqueue.settings import Settings
from tests.taskqueue.web.console.operator import Operator
from web import create_app

Work = Callable[..., str]


def test_is_anything_wrong_without_a_click(operator: Operator, incident: dict[str, str]) -> None:
    operator.opens()
    assert "things are wrong" in operator.text
    assert "Start one: python -m taskqueue worker" in operator.text
    assert operator.clicks == 0


def test_why_does_this_queue_not_drain_in_one_click(operator: Operator, incident: dict[str, str]) -> None:
    operator.opens()
    operator.goes_to("Queues")
    operator.sees("No worker takes tasks from the queue 'default'.")
    assert operator.clicks <= 1


def test_what_fails_since_when_in_one_click(operator: Operator, incident: dict[str, str]) -> None:
    operator.opens()
    operator.goes_to("Failures")
    operator.sees("hopeless: ")
    assert "ago" in operator.text or "just now" in operator.text
    assert operator.clicks <= 1


def test_retry_only_one_group_in_six_clicks(
    operator: Operator, incident: dict[str, str], queue: TaskQueue, work: Work
) -> None:
    operator.opens()
    operator.goes_to("Failures")
    operator.clicks_on("a[aria-label^='Send all again of hopeless']")
    operator.clicks_text("Send again 2")
    operator.sees("begins in 8 seconds")
    assert operator.clicks <= 6
    queue_of = queue.get(incident["flaky"])
    assert queue_of.status == "failed"  # the other group is left alone


def test_stop_one_bad_job_type_in_four_clicks(
    operator: Operator, queue: TaskQueue, work: Work, redis: Redis
) -> None:
    bad, good = (
        queue.submit("flaky", {"failures": 9}).id,
        queue.submit("generic", {}, SubmitOptions(queue="high")).id,
    )
    operator.opens()
    operator.goes_to("Types")
    operator.clicks_on("button[aria-label='Pause flaky']")
    operator.sees("The type flaky is paused: no task of it begins.")
    assert operator.clicks <= 4
    work()
    assert queue.get(good).status == "complete"
    assert (queue.get(bad).status, queue.get(bad).attempt) == ("queued", 0)
    operator.opens(f"/tasks/{bad}")
    operator.sees("The task type 'flaky' is paused.")
    operator.clicks_text("Resume flaky")  # the fix, where the reason is
    operator.sees("What was held begins first")
    work()
    assert queue.get(bad).status == "failed"


def test_cancel_many_in_six_clicks(operator: Operator, queue: TaskQueue) -> None:
    for _ in range(120):
        queue.submit("generic", {}, SubmitOptions(tags=("wrong",)))
    operator.opens()
    operator.goes_to("Tasks")
    operator.searches("tag:wrong")
    operator.clicks_text("Cancel all …")
    operator.clicks_text("Cancel 120")
    operator.sees("begins in 8 seconds")
    assert operator.clicks <= 6


def test_find_the_task_of_a_customer_in_two_clicks(operator: Operator, incident: dict[str, str]) -> None:
    operator.opens()
    operator.goes_to("Tasks")
    operator.searches("customer:4711")
    operator.sees(incident["failed"][:8])
    assert incident["other"][:8] not in operator.text
    assert operator.clicks <= 2


def test_what_did_this_task_do_in_two_clicks(operator: Operator, incident: dict[str, str]) -> None:
    operator.opens("/tasks")
    operator.clicks_text(incident["failed"][:8])
    operator.sees("Traceback")
    assert operator.clicks <= 2


def test_stop_what_runs_too_long_in_three_clicks(
    operator: Operator, incident: dict[str, str], queue: TaskQueue, redis: Redis
) -> None:
    task = incident["waiting"]
    redis.lrem("rq:queue:default", 0, task)
    redis.hset(
        f"rq:job:{task}",
        mapping={"status": "started", "started_at": "2026-11-25T00:00:00.000000Z", "tq:attempt": 1},
    )
    redis.zadd("rq:wip:default", {f"{task}:x": 2_000_000_000})
    operator.opens()
    operator.clicks_text(task[:8])
    operator.clicks_text("Cancel")
    operator.sees("It is canceled, or will be within a second.")
    assert redis.hget(f"rq:job:{task}", "tq:cancel") == b"1"
    assert operator.clicks <= 3


def test_did_the_nightly_job_run_in_one_click(operator: Operator, settings: Settings, job_types: JobTypes) -> None:
    client = create_app(settings, job_types).test_client()
    client.put("/schedules/nightly", json={"task_type": "generic", "cron": "30 2 * * *"})
    client.post("/schedules/nightly/run")
    operator.opens()
    operator.goes_to("Schedules")
    operator.sees("queued")
    assert "every day at 02:30 UTC" in operator.text
    assert operator.clicks <= 1


def test_what_changed_in_the_last_hour_without_a_click(
    operator: Operator, settings: Settings, job_types: JobTypes
) -> None:
    create_app(settings, job_types).test_client().post("/queues/low/pause")
    operator.opens()
    operator.sees("queue paused low by anybody")
    assert operator.clicks <= 1


def test_recover_gently_after_an_outage(operator: Operator, incident: dict[str, str]) -> None:
    operator.opens()
    operator.goes_to("Failures")
    operator.clicks_on("a[aria-label^='Send all again of hopeless']")
    Select(operator.finds("rate")).select_by_value("5")
    operator.clicks_text("Send again 2")
    operator.sees("5 a second")
    operator.clicks_text("Undo")
    operator.sees("nothing was changed")
