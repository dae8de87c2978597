"""Forms and details of the pages Types and Task in a browser."""

from collections.abc import Callable

import pytest
from redis import Redis
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

from taskqueue.enqueue.queue import TaskQueue
from tests.taskqueue.web.console.operator import Operator

Work = Callable[..., str]


def test_change_the_limits_of_a_type_and_set_them_back(operator: Operator, redis: Redis) -> None:
    operator.opens("/types")
    operator.clicks_on("#type-generic details summary")
    operator.finds("rate-generic").send_keys("10 a minute", Keys.ENTER)
    operator.sees("rate must be 1 to 10,000")
    field = operator.finds("rate-generic")
    assert field.get_attribute("value") == "10 a minute"  # what was typed is kept
    field.clear()
    field.send_keys("10/minute", Keys.ENTER)
    operator.sees("The limits of generic are changed: rate=10/minute.")
    assert redis.hget("tq:limit:generic", "count") == b"10"
    operator.opens("/changes")
    operator.sees("limits changed generic anybody")
    operator.opens("/types")
    operator.clicks_on("#type-generic details summary")
    operator.clicks_on("#type-generic button[name=reset]")
    operator.sees("The limits of generic are those of the code again.")
    assert redis.hget("tq:limit:generic", "count") is None


def test_each_attempt_has_its_times_worker_release_error_and_log(
    operator: Operator, queue: TaskQueue, work: Work, env: pytest.MonkeyPatch
) -> None:
    env.setenv("RELEASE", "v42")
    task = queue.submit("flaky", {"failures": 1})
    work()
    operator.opens(f"/tasks/{task.id}")
    operator.clicks_on("#attempt-rows details:last-child summary")  # while it is open, the page stays as it is
    runs = operator.browser.find_elements(By.CSS_SELECTOR, "#attempt-rows details")
    summaries = [run.find_element(By.TAG_NAME, "summary").text for run in runs]
    assert [text.split()[0] for text in summaries] == ["2.", "1."]
    assert "ConnectionError" in summaries[1]
    failed = runs[1]
    assert all(word in failed.text for word in ("Began", "Ended", "Worker", "v42", "Traceback"))
