"""Everybody can use every page: by axe-core, on a phone, in the dark, by keyboard, without scripts."""

import json
from importlib.resources import files
from typing import Any

import pytest
from redis import Redis
from selenium.webdriver import Chrome
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

from taskqueue.enqueue.queue import TaskQueue
from taskqueue.jobtypes.registry import JobTypes
from taskqueue.settings import Settings
from tests.conftest import wait_until
from tests.taskqueue.web.console.operator import PHONE, WIDE, Operator, show
from web import create_app

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
    queued = client.post("/tasks/bulk", json=[{"task_type": "generic", "payload": {}}]).json
    batch = f"/batches/{queued['batch'] if queued else ''}"
    client.post("/queues/low/pause")
    browser = operator.browser
    show(browser, size, scheme)
    found: dict[str, list[str]] = {}
    too_wide: list[str] = []
    for path in (*PAGES, batch, f"/tasks/{incident['failed']}", f"/tasks/{incident['waiting']}"):
        operator.opens(path)
        if wrong := violations(browser):
            found[path] = wrong
        if browser.execute_script("return document.documentElement.scrollWidth") > size[0]:
            too_wide.append(path)
    assert found == {}
    assert too_wide == []
    assert operator.errors() == []


def press(operator: Operator, *keys: str) -> None:
    ActionChains(operator.browser).send_keys(*keys).perform()


def test_the_keyboard_does_what_the_mouse_does(operator: Operator, incident: dict[str, str]) -> None:
    operator.opens()
    press(operator, "g", "t")
    wait_until(lambda: operator.browser.current_url.endswith("/tasks"), what="the page Tasks")
    operator.finds("q")
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
    press(operator, "g", "q")
    wait_until(lambda: operator.browser.current_url.endswith("/queues"), what="the page Queues")
    assert "/tasks/" in operator.browser.execute_script("return document.referrer")  # "g n" led nowhere


def test_the_theme_can_be_chosen_and_stays(operator: Operator) -> None:
    operator.opens()

    def theme() -> object:
        return operator.browser.execute_script("return document.documentElement.dataset.theme || 'auto'")

    seen = []
    for _ in range(3):
        operator.clicks_on("button[data-theme]")
        seen.append(theme())
    assert sorted(seen) == ["auto", "dark", "light"]
    operator.clicks_on("button[data-theme]")
    chosen = theme()
    operator.opens("/queues")
    assert theme() == chosen
    operator.browser.execute_script("localStorage.clear()")


def test_without_scripts_one_can_look_filter_requeue_cancel_and_pause(
    operator: Operator, incident: dict[str, str], queue: TaskQueue, redis: Redis
) -> None:
    operator.browser.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": True})
    operator.opens("/tasks")
    operator.finds("q").send_keys("customer:4711", Keys.ENTER)
    operator.sees(incident["failed"][:8])
    operator.clicks_text(incident["failed"][:8])
    operator.clicks_text("Send again")
    operator.sees("It is queued again")
    operator.clicks_text("Cancel")
    operator.sees("It is canceled")
    assert queue.get(incident["failed"]).status == "canceled"
    operator.browser.get(f"{operator.address}/queues")
    operator.clicks_on("button[aria-label='Pause low']")
    operator.sees("The queue low is paused")
    assert redis.smembers("tq:paused") == {b"low"}
