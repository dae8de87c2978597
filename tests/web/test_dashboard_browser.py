"""The dashboard in a real browser: it works, and what stands in a payload does not run."""

import base64
import os
import shutil
import subprocess
import sys
import urllib.request
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import quote

import pytest
from redis import Redis
from selenium.webdriver import Chrome, ChromeOptions, ChromeService
from selenium.webdriver.common.by import By

from taskqueue.queue import TaskQueue
from tests.conftest import free_port, wait_until

IMAGE = "<img src=x onerror=\"document.title='attacked'\">"
ATTACK = f"{IMAGE}<script>document.title='attacked'</script>"
FLAGS = (
    "--headless=new --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking"
    " --disable-component-update --disable-sync --window-size=1280,900"
)


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chrome]:
    chromium, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if not (chromium and driver):
        if os.environ.get("CI"):
            pytest.fail("Chromium is not installed: apt-get install chromium chromium-driver")
        pytest.skip("Chromium is not installed")
    options = ChromeOptions()
    options.binary_location = chromium
    for flag in (*FLAGS.split(), f"--user-data-dir={tmp_path_factory.mktemp('chromium')}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    with Chrome(options, ChromeService(driver)) as browser:
        yield browser


@pytest.fixture
def server(env: pytest.MonkeyPatch, project: Path, tmp_path: Path) -> Iterator[str]:
    """A real gunicorn; the dashboard's address."""
    address = f"http://127.0.0.1:{(port := free_port())}"
    command = [sys.executable, "-m", "gunicorn", "-c", "python:web.gunicorn_conf", "web.wsgi:app"]
    with (tmp_path / "web.log").open("w") as log:
        process = subprocess.Popen(
            [*command, "--bind", f"127.0.0.1:{port}"], cwd=project, stdout=log, stderr=log, env=os.environ
        )

    def ready() -> bool:
        try:
            with urllib.request.urlopen(f"{address}/readyz", timeout=1):
                return True
        except OSError:
            return False

    wait_until(ready, what="the web server")
    yield f"{address}/rq"
    process.terminate()
    process.wait(30)


def shown(browser: Chrome, text: str) -> Callable[[], bool]:
    return lambda: text in browser.find_element(By.TAG_NAME, "body").text


def test_an_operator_sees_the_queues_and_sends_a_failure_again(
    browser: Chrome, server: str, queue: TaskQueue, work: Callable[..., str]
) -> None:
    task = queue.submit("flaky", {"failures": 4})
    work()
    browser.get(f"{server}/")
    wait_until(shown(browser, "high"), what="the queue")
    browser.get(f"{server}/0/view/jobs/high/failed/8/asc/1")
    wait_until(shown(browser, "the line is down, run 4"), what="the traceback")
    browser.find_element(By.CSS_SELECTOR, "[data-role=requeue-job-btn]").click()
    wait_until(lambda: queue.get(task.id).status == "queued", what="the requeue")
    work()
    browser.get(f"{server}/0/view/job/{task.id}")
    wait_until(shown(browser, "finished"), what="the job's page")
    assert '"attempt": 5' in browser.find_element(By.TAG_NAME, "body").text
    assert [line for line in browser.get_log("browser") if line["level"] == "SEVERE"] == []  # type: ignore[no-untyped-call]


def test_what_stands_in_a_job_a_queue_or_a_worker_does_not_run(browser: Chrome, server: str, redis: Redis) -> None:
    packed = base64.b64encode(zlib.compress(ATTACK.encode())).decode()
    json_attack = '{"a": "' + ATTACK.replace('"', '\\"') + '"}'
    redis.hset(
        "rq:job:evil",
        mapping={
            "data": '["f", null, [], {}]',
            "origin": ATTACK,
            "description": ATTACK,
            "status": "failed",
            "created_at": "2026-01-01T00:00:00.000000Z",
            "meta": json_attack,
            "tq:progress": json_attack,
        },
    )
    redis.xadd(
        "rq:results:evil",
        {"type": "2", "exc_string": packed, "return_value": base64.b64encode(json_attack.encode()).decode()},
    )
    for name in (ATTACK, IMAGE, "default"):
        redis.sadd("rq:queues", f"rq:queue:{name}")
        redis.rpush(f"rq:queue:{name}", "evil")
        redis.zadd(f"rq:failed:{name}", {"evil": 10**10})
    redis.sadd("rq:workers", f"rq:worker:{ATTACK}")
    redis.hset(f"rq:worker:{ATTACK}", mapping={"queues": ATTACK, "version": ATTACK, "python_version": ATTACK})
    redis.sadd(f"rq:worker:{ATTACK}:executions", "evil:1")
    redis.hset("rq:execution:evil:1", mapping={"job_id": "evil", "created_at": "1", "last_heartbeat": "1"})
    quoted = quote(IMAGE, safe="")
    script = quote("'-(document.title='attacked')-'", safe="")
    for page, sign in {
        "/": "onerror",
        "/0/view/workers": "onerror",
        "/0/view/job/evil": "onerror",
        "/0/view/jobs/default/failed/8/asc/1": "onerror",
        f"/0/view/jobs/{quoted}/failed/8/asc/1": "onerror",
        f"/0/view/jobs/{script}/failed/8/asc/1": "No jobs",
    }.items():
        browser.get(f"{server}{page}")
        wait_until(shown(browser, sign), what=f"the text of the attack on {page}")
        assert browser.title == "RQ dashboard", page
        assert browser.find_elements(By.CSS_SELECTOR, "img[src=x]") == [], page
