"""Both ways, past Flask and through it, answer every request alike; and which requests take the short way."""

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest
from flask import Flask, request_started
from flask.testing import FlaskClient
from redis import Redis
from werkzeug.test import TestResponse

from taskqueue.jobtypes.registry import JobTypes
from taskqueue.settings import Settings
from taskqueue.settings.api_keys import new_key
from taskqueue.settings.quota import Quota
from taskqueue.web import mount
from tests.conftest import RedisServer

SUBMIT, SUBMIT_KEY = new_key("shop", "submit")
READ, READ_KEY = new_key("board", "read")
MAIL, MAIL_KEY = new_key("mailer", "submit", ["email"])
JSON = {"Content-Type": "application/json"}
UNKNOWN_ID = "00000000-0000-4000-8000-000000000000"
VARIABLE = re.compile(
    r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}"  # a task's id
    r"|\d{4}-\d\d-\d\dT[\d:.]+Z"
    r"|(?<=r=)\d+;t=\d+"  # what is left of a quota
)

SETTINGS: dict[str, dict[str, Any]] = {
    "open": {},
    "keys": {"api_keys": (SUBMIT_KEY, READ_KEY, MAIL_KEY)},
    "rate": {"rate_limit": Quota(1_000_000, 60)},
    "keys and rate": {"api_keys": (SUBMIT_KEY, READ_KEY, MAIL_KEY), "rate_limit": Quota(1_000_000, 60)},
    "origins": {"cors_origins": ("https://shop.example.com",)},
    "hosts": {"allowed_hosts": ("tasks.example.com",)},
    "small": {"max_payload_bytes": 20},
}
QUERIES = (
    "task_type=generic",
    "task_type=week",
    "task_type=nope",
    "task_type=",
    "task_type=generic&task_type=week",
    "task_type=generic&delay=60",
    "task_type=generic&delay=-1",
    "task_type=generic&queue=high",
    "task_type=generic&queue=nope",
    "task_type=generic&nope=1",
    "task_type=gener%69c",
    "task_type=tq-callback",
    "task_type=generic&",
    "Task_type=generic",
    "",
)
BODIES = (
    b"{}",
    b'{"a": 1, "b": [null, true, "\xc3\xa9"]}',
    b'{"of": "2026-01-05"}',
    b'{"of": "2026-01-05", "weeks": 99}',
    b'{"of": 1, "more": 2}',
    b"[]",
    b"null",
    b"",
    b"{",
    b"\xff",
    b'{"a": NaN}',
    b'{"a": 1e999}',
    b'{"a": "\\ud800"}',
    b"[" * 1000,
    b'{"a": "' + b"x" * 2000 + b'"}',
    b'{"a": "' + b"x" * 70_000 + b'"}',
    b'{"a": "' + b"x" * 1_100_000 + b'"}',
)
HEADERS: tuple[dict[str, str], ...] = (
    {},
    {"Authorization": f"Bearer {SUBMIT}"},
    {"Authorization": f"bearer {SUBMIT}"},
    {"Authorization": f"Bearer  {SUBMIT}"},
    {"Authorization": f"Bearer {READ}"},
    {"Authorization": f"Bearer {MAIL}"},
    {"Authorization": "Bearer nope"},
    {"Authorization": "Basic c2hvcDpub3Bl"},
    {"Content-Type": "text/plain"},
    {"Content-Type": "application/json; charset=utf-8"},
    {"Content-Type": "Application/JSON"},
    {"Content-Type": "application/vnd.x+json"},
    {"Host": "evil.example.com"},
    {"Host": "tasks.example.com"},
    {"Host": "127.0.0.1:8000"},
    {"Host": ""},
    {"Origin": "https://evil.example.com"},
    {"Origin": "https://shop.example.com"},
    {"Sec-Fetch-Site": "cross-site"},
    {"Sec-Fetch-Site": "same-origin"},
    {"X-Request-Id": "from-the-client"},
    {"X-Request-Id": "not good"},
    {"traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"},
    {"Prefer": "wait=0"},
    {"Idempotency-Key": "\x7f"},
    {"X-Forwarded-Prefix": "/api"},
    {"Accept": "text/html"},
    {"Content-Length": "nope"},
)

Request = tuple[str, str, bytes, dict[str, str]]
REQUESTS: list[Request] = [
    *[("POST", f"/tasks?{query}", b"{}", JSON) for query in QUERIES],
    *[("POST", "/tasks?task_type=generic", body, JSON) for body in BODIES],
    *[("POST", "/tasks?task_type=week", body, JSON) for body in BODIES],
    *[("POST", "/tasks?task_type=generic", b'{"a": 1}', JSON | headers) for headers in HEADERS],
    *[("POST", "/tasks?task_type=nope", b'{"a": 1}', JSON | headers) for headers in HEADERS],
    *[("POST", "/tasks?task_type=email", b'{"a": 1}', JSON | headers) for headers in HEADERS],
    *[("GET", "/tasks/{id}", b"", headers) for headers in HEADERS],
    *[("GET", f"/tasks/{UNKNOWN_ID}", b"", headers) for headers in HEADERS],
    *[
        (method, path, b"", {})
        for method in ("GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH")
        for path in (
            "/tasks",
            "/tasks/",
            f"/tasks/{UNKNOWN_ID}",
            f"/tasks/{UNKNOWN_ID}/",
            "/tasks/bulk",
            "//tasks",
        )
    ],
    ("GET", "/tasks/{id}?a=1", b"", {}),
    ("HEAD", "/tasks/{id}", b"", {}),
    ("GET", "/tasks/{ID}", b"", {}),
]


@pytest.fixture
def mounted(job_types: JobTypes, redis: Redis) -> Iterator[Callable[..., Flask]]:
    """Make an application; `hook` is registered before all else, and is enough to keep it on the long way."""
    apps: list[Flask] = []

    def make(settings: Settings, hook: Callable[[], None] | None = None) -> Flask:
        app = Flask(__name__)
        if hook:
            app.before_request(hook)
        mount(app, settings, job_types)
        apps.append(app)
        return app

    yield make
    for app in apps:
        app.extensions["subscriptions"].close()


def ask(client: FlaskClient, asked: Request, task_id: str) -> TestResponse:
    method, path, body, headers = asked
    path = path.replace("{id}", task_id).replace("{ID}", task_id.upper())
    return client.open(path, method=method, data=body, headers=headers, buffered=True)


def comparable(answer: TestResponse) -> tuple[str, list[tuple[str, str]], str]:
    headers = [
        (
            name,
            "new" if name == "X-Request-Id" and re.fullmatch("[0-9a-f]{16}", value) else VARIABLE.sub("…", value),
        )
        for name, value in answer.headers
    ]
    return answer.status, sorted(headers), VARIABLE.sub("…", answer.get_data(as_text=True))


@pytest.mark.parametrize("kind", SETTINGS)
def test_both_ways_answer_alike(settings: Settings, mounted: Callable[..., Flask], kind: str) -> None:
    chosen = replace(settings, **SETTINGS[kind])
    clients = [mounted(chosen, hook).test_client() for hook in (None, lambda: None)]
    task = mounted(settings).test_client().post("/tasks?task_type=generic", json={}).get_json()["id"]
    for asked in REQUESTS:
        short, long = [comparable(ask(client, asked, task)) for client in clients]
        assert short == long, (asked[0], asked[1], asked[2][:50], asked[3])


def test_both_ways_write_the_same_job(settings: Settings, mounted: Callable[..., Flask], redis: Redis) -> None:
    jobs = []
    for hook in (None, lambda: None):
        client = mounted(settings, hook).test_client()
        headers = {"X-Request-Id": "one", "traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"}
        task_id = client.post("/tasks?task_type=week", json={"of": "2026-01-05"}, headers=headers).get_json()["id"]
        job = redis.hgetall(f"rq:job:{task_id}")
        jobs.append(
            {name: VARIABLE.sub("…", value.decode()) for name, value in job.items() if name != b"retry_intervals"}
        )
    assert jobs[0] == jobs[1]


@pytest.mark.parametrize("act", ["submit", "show"])
def test_both_ways_say_that_redis_is_away(
    settings: Settings, mounted: Callable[..., Flask], own_redis: RedisServer, act: str
) -> None:
    chosen = replace(settings, redis_url=own_redis.url, rate_limit=None)
    clients = [mounted(chosen, hook).test_client() for hook in (None, lambda: None)]
    task = clients[0].post("/tasks?task_type=generic", json={}).get_json()["id"]
    own_redis.stop()
    asked: Request = (
        ("POST", "/tasks?task_type=generic", b"{}", JSON) if act == "submit" else ("GET", "/tasks/{id}", b"", {})
    )
    short, long = [comparable(ask(client, asked, task)) for client in clients]
    own_redis.start()
    assert short == long
    assert short[0].startswith("503 ")
    assert ("id" in json.loads(short[2])) == (act == "submit")
    assert ask(clients[0], asked, task).status_code in (200, 202, 404)


@pytest.mark.parametrize(
    ("asked", "is_short"),
    [
        (("POST", "/tasks?task_type=generic", b"{}", JSON), True),
        (("GET", "/tasks/{id}", b"", {}), True),
        (("POST", "/tasks?task_type=generic&delay=1", b"{}", JSON), False),
        (("POST", "/tasks?task_type=generic", b"{}", JSON | {"Prefer": "wait=0"}), False),
    ],
)
def test_which_requests_take_the_short_way(
    settings: Settings, mounted: Callable[..., Flask], asked: Request, is_short: bool
) -> None:
    app = mounted(settings)
    client = app.test_client()
    task = client.post("/tasks?task_type=generic", json={}).get_json()["id"]
    by_flask = []

    def count(*_: object, **__: object) -> None:
        by_flask.append(1)

    with request_started.connected_to(count, app):
        assert ask(client, asked, task).status_code in (200, 202)
    assert bool(by_flask) is not is_short


@pytest.mark.parametrize("when", ["before", "after"])
def test_hooks_of_the_application_see_every_request(
    settings: Settings, mounted: Callable[..., Flask], when: str
) -> None:
    seen = []

    def hook() -> None:
        seen.append(1)

    app = mounted(settings, hook if when == "before" else None)
    if when == "after":
        app.before_request(hook)
    client = app.test_client()
    for _ in range(2):
        assert client.post("/tasks?task_type=generic", json={}).status_code == 202
    assert seen == [1, 1]
