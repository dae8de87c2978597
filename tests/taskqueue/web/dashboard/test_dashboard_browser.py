"""The dashboard in a real browser: what an operator does there, and which attacks must fail."""

import json
import zlib
from base64 import b64encode
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from flask import Flask
from redis import Redis
from selenium.common.exceptions import (
    ElementNotInteractableException,
    NoSuchElementException,
    StaleElementReferenceException,
    WebDriverException,
)
from selenium.webdriver import Chrome
from selenium.webdriver.common.by import By

from taskqueue.enqueue.queue import TaskQueue
from taskqueue.jobtypes.registry import JobTypes
from taskqueue.settings import Settings
from tests.conftest import RedisServer, wait_until
from tests.taskqueue.web.conftest import served
from web import create_app

IMAGE = "<img src=x onerror=window.ran=1>"
ATTACK = f"\"'>{IMAGE}<script>window.ran=1</script><%=window.ran=1%>"


@pytest.fixture
def site(settings: Settings, job_types: JobTypes, browser: Chrome) -> Iterator[str]:
    """The address of the dashboard."""
    with served(create_app(settings, job_types)) as address:
        yield f"{address}/rq"
        browser.get("about:blank")  # no page asks a server that is gone


@contextmanager
def policy(browser: Chrome, *, obeyed: bool) -> Iterator[None]:
    """Make the browser obey a page's Content-Security-Policy, or ignore it."""
    browser.execute_cdp_cmd("Page.setBypassCSP", {"enabled": not obeyed})
    yield
    browser.execute_cdp_cmd("Page.setBypassCSP", {"enabled": False})


def body_of(browser: Chrome) -> str:
    """Return what the page shows; "" while another one takes its place."""
    with suppress(WebDriverException):  # Chromium has several words for a page that is gone
        return browser.find_element(By.TAG_NAME, "body").text
    return ""


def shows(browser: Chrome, text: str) -> Callable[[], bool]:
    return lambda: text in body_of(browser)


def errors(browser: Chrome) -> list[str]:
    lines = browser.get_log("browser")  # type: ignore[no-untyped-call]  # Selenium's, without types
    return [line["message"] for line in lines if line["level"] == "SEVERE"]


def press(browser: Chrome, button: str, *, confirm: bool = False) -> None:
    """Press a button, when it is shown; the page's script may replace it just before."""

    def is_pressed() -> bool:
        with suppress(NoSuchElementException, StaleElementReferenceException, ElementNotInteractableException):
            browser.find_element(By.CSS_SELECTOR, button).click()
            return True
        return False

    wait_until(is_pressed, what=button)
    if confirm:
        wait_until(
            lambda: browser.find_element(By.ID, "confirmation-modal-yes").is_displayed(), what="the question"
        )
        browser.execute_script("$('#confirmation-modal-yes').click()")  # it is still sliding in


def test_an_operator_finds_a_failure_and_sends_it_again(
    browser: Chrome, site: str, queue: TaskQueue, work: Callable[..., str]
) -> None:
    task = queue.submit("flaky", {"failures": 4})
    work()
    browser.get(site)
    wait_until(shows(browser, "high"), what="the queue")
    browser.get(f"{site}/0/view/jobs/high/failed/8/asc/1")
    wait_until(shows(browser, "ConnectionError: the line is down, run 4"), what="the traceback")
    press(browser, "[data-role=requeue-job-btn]")
    wait_until(shows(browser, "The job is queued again."), what="the notice")
    work()
    browser.get(f"{site}/0/view/job/{task.id}")
    wait_until(shows(browser, "finished"), what="the job")
    wait_until(shows(browser, '"attempt": 1'), what="that all its attempts were given back")
    assert errors(browser) == []


def test_an_operator_empties_the_failures_of_a_queue(browser: Chrome, site: str, redis: Redis) -> None:
    redis.sadd("rq:queues", "rq:queue:default")
    redis.zadd("rq:failed:default", {"vanished": 10**10})
    browser.get(f"{site}/0/view/jobs/default/failed/8/asc/1")
    wait_until(shows(browser, "This job is gone"), what="the job")
    press(browser, "#empty-btn", confirm=True)
    wait_until(shows(browser, "Jobs deleted: 1."), what="the notice")
    wait_until(shows(browser, "No jobs."), what="the empty list")
    assert errors(browser) == []


def test_an_operator_learns_why_a_button_did_nothing(
    browser: Chrome, site: str, queue: TaskQueue, redis: Redis
) -> None:
    task = queue.submit("generic", {})
    browser.get(f"{site}/0/view/job/{task.id}")
    wait_until(shows(browser, "queued"), what="the job")
    browser.execute_script("$('#requeue-job-btn').show()")
    press(browser, "#requeue-job-btn")
    wait_until(shows(browser, "is queued. Only a failed or canceled task can be requeued."), what="the notice")


def test_an_operator_sees_that_redis_is_away_and_when_it_is_back(
    browser: Chrome, own_redis: RedisServer, job_types: JobTypes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("taskqueue.web.dashboard.POLL_MILLISECONDS", 200)
    with served(create_app(Settings(redis_url=own_redis.url), job_types)) as address:
        browser.get(f"{address}/rq")
        wait_until(shows(browser, "No queues."), what="the page")
        own_redis.stop()
        wait_until(shows(browser, "Redis did not answer. This page is out of date."), what="the notice")
        own_redis.start()
        wait_until(
            lambda: (text := body_of(browser)) and "Redis did not answer" not in text, what="the end of the notice"
        )
        browser.get("about:blank")


def test_a_login_is_enough_for_all_that_a_page_asks_for(
    browser: Chrome, settings: Settings, job_types: JobTypes
) -> None:
    locked = Settings(redis_url=settings.redis_url, dashboard_auth=("me", "secret"))
    with served(create_app(locked, job_types)) as address:
        browser.get(f"{address.replace('//', '//me:secret@')}/rq/")
        wait_until(shows(browser, "No queues."), what="the page")
        browser.get("about:blank")


@pytest.fixture
def attacked(redis: Redis) -> dict[str, str]:
    """Put markup in every text that a page shows; return the pages, and how each shows it."""
    stored: dict[str, Any] = {
        "data": json.dumps([ATTACK, None, [ATTACK], {ATTACK: ATTACK}]),
        "origin": ATTACK,
        "description": ATTACK,
        "status": "failed",
        "created_at": "2026-11-24T10:00:00.000000Z",
        "meta": json.dumps({ATTACK: ATTACK}),
        "tq:attempt": json.dumps(ATTACK),
        "tq:progress": json.dumps({ATTACK: ATTACK}),
    }
    redis.hset("rq:job:evil", mapping=stored)
    failure = b64encode(zlib.compress(ATTACK.encode())).decode()
    redis.xadd("rq:results:evil", {"type": 2, "exc_string": failure})
    redis.hset("rq:job:done", mapping=stored | {"status": ATTACK})
    redis.xadd(
        "rq:results:done", {"type": 1, "return_value": b64encode(json.dumps({ATTACK: ATTACK}).encode()).decode()}
    )
    redis.sadd("rq:job::evil:dependencies", ATTACK, "done")
    for name in (ATTACK, "default", IMAGE):
        redis.sadd("rq:queues", f"rq:queue:{name}")
        redis.rpush(f"rq:queue:{name}", "evil", "done", ATTACK)
        redis.zadd(f"rq:failed:{name}", {"evil": 10**10, ATTACK: 10**10})
    for name in (ATTACK, "worker"):
        redis.sadd("rq:workers", f"rq:worker:{name}")
        redis.hset(f"rq:worker:{name}", mapping={"queues": ATTACK, "version": ATTACK, "python_version": ATTACK})
        redis.hset(f"rq:worker:{name}", mapping={"state": ATTACK, "hostname": ATTACK})
        redis.sadd(f"rq:worker:{name}:executions", "evil:1")
    redis.hset("rq:execution:evil:1", mapping={"job_id": "evil", "created_at": "1", "last_heartbeat": "1"})
    in_script = "');}});window.ran=1;$(window).on('x',function(){if(1){('"  # it ends what it would stand in
    return {
        "/": IMAGE,
        "/0/view/workers": IMAGE,
        "/0/view/job/evil": IMAGE,
        "/0/view/job/done": IMAGE,
        "/0/view/jobs/default/queued/8/asc/1": IMAGE,
        f"/0/view/jobs/{quote(IMAGE, safe='')}/failed/8/asc/1": IMAGE,
        f"/0/view/jobs/{quote(in_script, safe='')}/queued/8/asc/1": "No jobs.",
        f"/0/view/job/{quote(IMAGE, safe='')}": "no such job",
        f"/0/view/jobs/default/{quote(IMAGE, safe='')}/8/asc/1": "no such registry",
    }


@pytest.mark.parametrize("obeyed", [False, True])
def test_no_markup_runs_whether_its_policy_is_obeyed_or_not(
    browser: Chrome, site: str, attacked: dict[str, str], obeyed: bool
) -> None:
    found = {}
    with policy(browser, obeyed=obeyed):
        for page, sign in attacked.items():
            browser.get(site + page)
            wait_until(shows(browser, sign), what=f"the attack on {page}")
            elements = browser.find_elements(By.CSS_SELECTOR, "img[src=x]")
            found[page] = (browser.execute_script("return window.ran || null"), len(elements))
    assert set(found.values()) == {(None, 0)}, found


@pytest.mark.parametrize("obeyed", [False, True])
def test_its_policy_stops_even_markup_that_was_not_escaped(browser: Chrome, site: str, obeyed: bool) -> None:
    with policy(browser, obeyed=obeyed):
        browser.get(site)
        browser.execute_script(f"""
            document.addEventListener('securitypolicyviolation', function () {{ window.stopped = 1; }});
            document.body.insertAdjacentHTML('beforeend', {json.dumps(IMAGE)});""")
        wait_until(lambda: browser.execute_script("return window.ran || window.stopped"), what="the attack")
        stopped = browser.execute_script("return !window.ran")
    assert stopped == obeyed


def test_another_site_cannot_press_a_button(browser: Chrome, site: str, redis: Redis, tmp_path: Path) -> None:
    redis.zadd("rq:failed:default", {"it": 10**10})
    other = Flask("other")
    other.add_url_rule("/", "form", lambda: f'<form method=post action="{site}/queue/default/failed/empty">')
    with served(other, "localhost") as address:
        browser.get(address)
        browser.execute_script("document.forms[0].submit()")
        wait_until(shows(browser, "This request comes from another site."), what="the refusal")
    assert redis.zcard("rq:failed:default") == 1
