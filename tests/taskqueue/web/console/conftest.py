"""Fixtures of the console's tests: clients that have signed in, and the forms of a page."""

import json
import re
import time
from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest
from flask.testing import FlaskClient
from redis import Redis
from selenium.webdriver import Chrome
from werkzeug.test import TestResponse

from taskqueue.enqueue.options import SubmitOptions
from taskqueue.enqueue.queue import TaskQueue
from taskqueue.jobtypes.registry import JobTypes
from taskqueue.settings import Settings
from taskqueue.settings.api_keys import ApiKey, new_key
from tests.taskqueue.web.conftest import served
from tests.taskqueue.web.console.operator import WIDE, Operator, show
from web import create_app

Work = Callable[..., str]
KEYS: dict[str, tuple[str, ApiKey]] = {
    "ops": new_key("ops", "operate"),
    "reader": new_key("reader", "read"),
    "mailer": new_key("mailer", "operate", ["email"]),
}
SignIn = Callable[[str], FlaskClient]


class Page:
    """A page of the console, and its forms."""

    def __init__(self, client: FlaskClient, response: TestResponse) -> None:
        self._client = client
        self.status, self.text, self.headers = response.status_code, response.text, response.headers

    @property
    def token(self) -> str:
        """The token of the page's forms."""
        match = re.search(r'name="form_token" value="([^"]*)"', self.text)
        assert match, self.text
        return match.group(1)

    def post(self, address: str, **fields: str) -> "Page":
        """Send a form of this page; follow the redirect to the next page."""
        data = {"form_token": self.token} | fields
        return Page(self._client, self._client.post(address, data=data, follow_redirects=True))


def page(client: FlaskClient, address: str) -> Page:
    return Page(client, client.get(address))


@pytest.fixture
def locked(settings: Settings) -> Settings:
    return replace(settings, api_keys=tuple(key for _, key in KEYS.values()))


@pytest.fixture
def sign_in(locked: Settings, job_types: JobTypes) -> SignIn:
    """Return a client that has signed in with one of KEYS; each client is another browser."""
    app = create_app(locked, job_types)

    def signed_in(name: str) -> FlaskClient:
        client = app.test_client()
        answer = page(client, "/console/sign-in").post("/console/sign-in", secret=KEYS[name][0])
        assert answer.status == 200, answer.text
        return client

    return signed_in


@pytest.fixture
def operator(settings: Settings, job_types: JobTypes, browser: Chrome, redis: Redis) -> Iterator[Operator]:
    with served(create_app(settings, job_types)) as address:
        show(browser, WIDE)
        yield Operator(browser, f"{address}/console")
        show(browser, WIDE)
        browser.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": False})
        browser.get("about:blank")


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


@pytest.fixture
def failed(queue: TaskQueue, work: Work) -> list[str]:
    tasks = [queue.submit("hopeless", {}).id for _ in range(4)]
    work()
    return tasks


def group_of(redis: Redis, task_id: str) -> str:
    return (redis.hget(f"rq:job:{task_id}", "tq:failure") or b"").decode().split()[0]
