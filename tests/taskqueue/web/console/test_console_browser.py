"""The console in a real browser: twelve things done in an incident with their clicks, keys, phones, no scripts."""

import json
import os
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
from redis import Redis
from selenium.common.exceptions import WebDriverException
from selenium.webdriver import Chrome
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.select import Select

from taskqueue.enqueue.options import SubmitOptions
from taskqueue.enqueue.queue import TaskQueue
from taskqueue.jobtypes.registry import JobTypes
from taskqueue.settings import Settings
from taskqueue.telemetry.changes import Changes
from tests.conftest import wait_until
from tests.taskqueue.web.conftest import served
from web import create_app

Work = Callable[..., str]
AXE = files("selenium_axe_python").joinpath("axe-core/axe.min.js").read_text(encoding="utf-8")
WCAG = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"]
PAGES = (
    *(
        "/",
        "/tasks",
        "/tasks?q=status:failed",
        "/failures",
        "/queues",
        "/types",
        "/workers",
        "/schedules",
        "/batches",
        "/bulk",
    ),
    *("/changes", "/submit", "/submit/email", "/schedules/new/edit", "/schedules/nightly"),
    "/bulk/new?action=requeue&q=status:failed",
)
WIDE, PHONE = (1280, 800), (390, 844)


class Operator:
    """Somebody who uses the console in a browser, and whose clicks are counted."""

    def __init__(self, browser: Chrome, address: str) -> None:
        self.browser = browser
        self.address = address
        self.clicks = 0

    def opens(self, path: str = "/") -> None:
        self.browser.get(f"{self.address}{path}")
        self.clicks = 0

    def clicks_on(self, css: str) -> None:
        element = self.browser.find_element(By.CSS_SELECTOR, css)
        self.browser.execute_script("arguments[0].scrollIntoView({block: 'center'})", element)
        element.click()
        self.clicks += 1

    def clicks_text(self, text: str) -> None:
        path = f"//main//*[self::a or self::button][normalize-space()='{text}']"
        element = self.browser.find_element(By.XPATH, path)
        self.browser.execute_script("arguments[0].scrollIntoView({block: 'center'})", element)
        element.click()
        self.clicks += 1

    def goes_to(self, page: str) -> None:
        self.browser.find_element(By.XPATH, f"//header//nav/a[normalize-space()='{page}']").click()
        self.clicks += 1

    def searches(self, text: str) -> None:
        field = self.browser.find_element(By.ID, "q")
        field.clear()
        field.send_keys(text, Keys.ENTER)
        wait_until(lambda: "q=" in self.browser.current_url, what="the search")

    @property
    def text(self) -> str:
        """What the page shows; asked again if the page is just being replaced."""
        texts: list[str] = []

        def read() -> bool:
            with suppress(WebDriverException):  # Chromium has several words for a page that is gone
                texts.append(self.browser.find_element(By.TAG_NAME, "main").text)
            return bool(texts)

        wait_until(read, what="the page")
        return texts[0]

    def sees(self, text: str) -> None:
        wait_until(lambda: text in self.text, what=text)

    def errors(self) -> list[str]:
        return [line["message"] for line in self.browser.get_log("browser") if line["level"] == "SEVERE"]  # type: ignore[no-untyped-call]


@pytest.fixture
def operator(settings: Settings, job_types: JobTypes, browser: Chrome, redis: Redis) -> Iterator[Operator]:
    with served(create_app(settings, job_types)) as address:
        show(browser, WIDE)
        yield Operator(browser, f"{address}/console")
        show(browser, WIDE)
        browser.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": False})
        browser.get("about:blank")


def show(browser: Chrome, size: tuple[int, int], scheme: str = "light") -> None:
    width, height = size
    metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 500}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    features = [{"name": "prefers-color-scheme", "value": scheme}]
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})


@pytest.fixture
def incident(queue: TaskQueue, redis: Redis, work: Work) -> dict[str, str]:
    """Failed tasks, a batch of waiting ones, a schedule: ids of tasks by what distinguishes them."""
    tasks = {
        "failed": queue.submit("hopeless", {}, SubmitOptions(tags=("customer:4711",))),
        "other": queue.submit("hopeless", {}),
        "flaky": queue.submit("flaky", {"failures": 9}),
        "done": queue.submit("generic", {"a": 1}, SubmitOptions(tags=("customer:4711",))),
    }
    work()
    tasks["waiting"] = queue.submit("generic", {"later": True})
    report = {"table": "outbox", "waiting": 12, "oldest": time.time() - 90, "set_aside": 1, "error": ""}
    redis.hset("tq:outboxes", "db.internal/shop:outbox", json.dumps(report | {"at": time.time()}))
    return {name: task.id for name, task in tasks.items()}


def violations(browser: Chrome) -> list[str]:
    """Return what axe-core finds on the page, for each kind the first element."""
    # As a tool of the browser's owner: the page's own policy lets no such script in.
    browser.execute_cdp_cmd("Runtime.evaluate", {"expression": AXE})
    run = f"axe.run(document, {{runOnly: {json.dumps(WCAG)}}}).then((found) => JSON.stringify(found.violations))"
    answer: dict[str, Any] = browser.execute_cdp_cmd(
        "Runtime.evaluate", {"expression": run, "awaitPromise": True, "returnByValue": True}
    )
    found = json.loads(answer["result"]["value"])
    return [
        f"{each['id']}: {each['nodes'][0]['html'][:160]} {each['nodes'][0]['failureSummary'][:200]}"
        for each in found
    ]


@pytest.mark.parametrize(("size", "scheme"), [(WIDE, "light"), (WIDE, "dark"), (PHONE, "light"), (PHONE, "dark")])
def test_everybody_can_use_every_page(
    operator: Operator,
    incident: dict[str, str],
    size: tuple[int, int],
    scheme: str,
    settings: Settings,
    job_types: JobTypes,
) -> None:
    client = create_app(settings, job_types).test_client()
    client.put("/schedules/nightly", json={"task_type": "generic", "cron": "30 2 * * *"})
    client.post("/tasks/bulk", json=[{"task_type": "generic", "payload": {}}])
    client.post("/queues/low/pause")
    browser = operator.browser
    show(browser, size, scheme)
    found: dict[str, list[str]] = {}
    too_wide: list[str] = []
    for path in (*PAGES, f"/tasks/{incident['failed']}", f"/tasks/{incident['waiting']}"):
        operator.opens(path)
        if wrong := violations(browser):
            found[path] = wrong
        if browser.execute_script("return document.documentElement.scrollWidth") > size[0]:
            too_wide.append(path)
    assert found == {}
    assert too_wide == []
    assert operator.errors() == []


# The twelve things, each with at most the clicks of the best console of the field (typing a search is no click).


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


def test_change_the_limits_of_a_type_and_set_them_back(operator: Operator, redis: Redis) -> None:
    operator.opens("/types")
    operator.clicks_on("#type-generic details summary")
    operator.browser.find_element(By.ID, "rate-generic").send_keys("10 a minute", Keys.ENTER)
    operator.sees("rate must be 1 to 10,000")
    field = operator.browser.find_element(By.ID, "rate-generic")
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
    runs = operator.browser.find_elements(By.CSS_SELECTOR, "#attempt-rows details")
    assert [run.find_element(By.TAG_NAME, "summary").text.split()[0] for run in runs] == ["2.", "1."]
    failed = runs[1]
    assert "ConnectionError" in failed.text
    failed.find_element(By.TAG_NAME, "summary").click()
    assert all(word in failed.text for word in ("Began", "Ended", "Worker", "v42", "Traceback"))


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
    Select(operator.browser.find_element(By.ID, "rate")).select_by_value("5")
    operator.clicks_text("Send again 2")
    operator.sees("5 a second")
    operator.clicks_text("Undo")
    operator.sees("nothing was changed")


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


def press(operator: Operator, *keys: str) -> None:
    ActionChains(operator.browser).send_keys(*keys).perform()


def test_the_keyboard_does_what_the_mouse_does(operator: Operator, incident: dict[str, str]) -> None:
    operator.opens()
    press(operator, "g", "t")
    wait_until(lambda: operator.browser.current_url.endswith("/tasks"), what="the page Tasks")
    press(operator, "/")
    assert operator.browser.switch_to.active_element.get_attribute("id") == "q"
    press(operator, "status:failed type:hopeless", Keys.ENTER)
    wait_until(lambda: "q=status" in operator.browser.current_url, what="the failed tasks")
    operator.sees("hopeless")
    press(operator, "j", "j", "k", "x")
    assert len(operator.browser.find_elements(By.CSS_SELECTOR, "input[name=id]:checked")) == 1
    press(operator, "x", Keys.ENTER)
    operator.sees("Attempts")
    operator.sees("PermanentFailure")
    press(operator, "?")
    assert operator.browser.find_element(By.ID, "keys").is_displayed()
    press(operator, Keys.ESCAPE)
    operator.clicks_on("[data-keys-switch]")
    press(operator, "g", "n")
    assert "/tasks/" in operator.browser.current_url
    operator.clicks_on("[data-keys-switch]")


def test_the_theme_can_be_chosen_and_stays(operator: Operator) -> None:
    operator.opens()
    theme = lambda: operator.browser.execute_script("return document.documentElement.dataset.theme || 'auto'")  # noqa: E731
    seen = []
    for _ in range(3):
        operator.browser.find_element(By.CSS_SELECTOR, "button[data-theme]").click()
        seen.append(theme())
    assert sorted(seen) == ["auto", "dark", "light"]
    operator.browser.find_element(By.CSS_SELECTOR, "button[data-theme]").click()
    chosen = theme()
    operator.opens("/queues")
    assert theme() == chosen
    operator.browser.execute_script("localStorage.clear()")


def test_without_scripts_one_can_look_filter_requeue_cancel_and_pause(
    operator: Operator, incident: dict[str, str], queue: TaskQueue, redis: Redis
) -> None:
    operator.browser.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": True})
    operator.opens("/tasks")
    field = operator.browser.find_element(By.ID, "q")
    field.send_keys("customer:4711", Keys.ENTER)
    operator.sees(incident["failed"][:8])
    operator.browser.find_element(By.XPATH, f"//a[normalize-space()='{incident['failed'][:8]}']").click()
    operator.browser.find_element(By.XPATH, "//button[text()='Send again']").click()
    operator.sees("It is queued again")
    operator.browser.find_element(By.XPATH, "//button[text()='Cancel']").click()
    operator.sees("It is canceled")
    assert queue.get(incident["failed"]).status == "canceled"
    operator.browser.get(f"{operator.address}/queues")
    operator.browser.find_element(By.CSS_SELECTOR, "button[aria-label='Pause low']").click()
    operator.sees("The queue low is paused")
    assert redis.smembers("tq:paused") == {b"low"}


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


def test_the_pictures_of_the_documentation(
    operator: Operator, queue: TaskQueue, redis: Redis, tmp_path: Path
) -> None:
    """Draw the two pictures of docs/console.md: with PICTURES=docs/images they are kept."""
    fill(redis, queue)
    folder = Path(os.environ.get("PICTURES", tmp_path))
    for path, name in (("/", "now"), ("/failures", "failures")):
        operator.opens(path)
        picture = folder / f"console-{name}.png"
        assert operator.browser.save_screenshot(str(picture))
        assert picture.stat().st_size > 10_000
    assert "All is well" in operator.text or "Failures" in operator.text


def fill(redis: Redis, queue: TaskQueue) -> None:
    """Write an hour of counts, two groups of failures, a worker and a release, as they would be."""
    minute = int(time.time()) // 60
    for number in range(60):
        counts = {}
        for name, most in (("email:high", 40), ("resize:default", 15), ("sync:low", 4)):
            begun = most - (number * 7 + most) % (most // 2)
            failed = 3 if (number % 17, name) == (5, "email:high") else 0
            counts |= {
                f"{name}:submitted": begun,
                f"{name}:begun": begun,
                f"{name}:finished": begun - failed,
                f"{name}:failed": failed,
            }
            counts |= {
                f"{name}:wait_ms": begun * 9,
                f"{name}:run_ms": begun * most * 20,
                f"{name}:retried": failed,
            }
        redis.hset(f"tq:minute:{minute - number}", mapping=counts)
    now = time.time()
    for number in range(30):
        task = queue.submit("email", {"to": "ada@example.com", "subject": "Hello"})
        group = (
            "3f0a1c9b7d52 email TimeoutError: the mail server did not answer"
            if number % 3
            else ("a40a1c9b7d52 email SMTPRecipientsRefused: no such mailbox")
        )
        ended = datetime.fromtimestamp(now - number * 2000, UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        redis.lrem("rq:queue:high", 0, task.id)
        redis.hset(f"rq:job:{task.id}", mapping={"status": "failed", "ended_at": ended, "tq:failure": group})
        redis.zadd("rq:failed:high", {task.id: now + 86_400 * 30 - number * 2000})
    written = {"birth": "2026-11-25T00:00:00.000000Z", "last_heartbeat": "2026-11-25T10:00:00.000000Z", "pid": 7}
    written |= {
        "state": "busy",
        "queues": "high,default,low",
        "hostname": "worker-1",
        "tq:horses": 4,
        "tq:release": "v42",
    }
    redis.sadd("rq:workers", "rq:worker:worker-1")
    for name in ("high", "default", "low"):
        redis.sadd(f"rq:workers:{name}", "rq:worker:worker-1")
        redis.set(f"rq:scheduler-lock:{name}", "x", ex=600)
    redis.hset("rq:worker:worker-1", mapping=written)
    redis.expire("rq:worker:worker-1", 90)
    Changes(redis).record("worker-1", "worker", "release-started", "v42")
