"""What pages do by themselves: show what happens, keep still while one reads, survive a Redis that is away."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from selenium.webdriver import Chrome
from selenium.webdriver.common.by import By

from taskqueue.enqueue.queue import TaskQueue
from taskqueue.jobtypes.registry import JobTypes
from taskqueue.settings import Settings
from tests.conftest import wait_until
from tests.taskqueue.web.conftest import served
from tests.taskqueue.web.console.operator import WIDE, Operator, show
from web import create_app

Work = Callable[..., str]


def test_a_page_shows_what_happens_and_is_steady_while_one_chooses(operator: Operator, queue: TaskQueue) -> None:
    first = queue.submit("generic", {}).id
    operator.opens("/tasks")
    second = queue.submit("generic", {}).id
    operator.sees(second[:8])  # without a reload
    operator.clicks_on(f"input[value='{first}']")
    third = queue.submit("generic", {}).id
    operator.browser.execute_async_script("const done = arguments[0]; setTimeout(done, 5000)")
    assert third[:8] not in operator.text
    assert operator.browser.find_element(By.CSS_SELECTOR, f"input[value='{first}']").is_selected()
    operator.clicks_on(f"input[value='{first}']")
    operator.sees(third[:8])


def test_the_page_of_a_task_follows_it(operator: Operator, queue: TaskQueue, work: Work) -> None:
    task = queue.submit("generic", {"a": 1})
    operator.opens(f"/tasks/{task.id}")
    assert "queued" in operator.text
    work()
    operator.sees("complete")
    operator.sees("Result")


def test_an_old_id_is_looked_for_without_a_click(
    operator: Operator, queue: TaskQueue, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("taskqueue.tasks.listing.IDS_STEP", 10)
    monkeypatch.setattr("taskqueue.tasks.listing.IDS_SECONDS", 0)
    oldest = queue.submit("generic", {}).id
    for _ in range(45):
        queue.submit("week", {"of": "2026-11-23"})
    operator.opens("/tasks")
    operator.searches(f"id:{oldest[:10]}")
    operator.sees(oldest[:8])


def test_without_redis_the_page_says_so_and_comes_back(
    settings: Settings, job_types: JobTypes, browser: Chrome, own_redis: Any
) -> None:
    with served(create_app(replace(settings, redis_url=own_redis.url), job_types)) as address:
        show(browser, WIDE)
        operator = Operator(browser, f"{address}/console")
        operator.opens()
        own_redis.stop()
        wait_until(
            lambda: "Not refreshed since" in browser.find_element(By.ID, "live-state").text, what="the word"
        )
        operator.opens()
        assert "Redis does not answer" in operator.text
        own_redis.start()
        operator.sees("Task types in the last hour")  # by itself
        browser.get("about:blank")
