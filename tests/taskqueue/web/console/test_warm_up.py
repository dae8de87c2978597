"""What a web process prepares before the first look at the console."""

from dataclasses import replace

import pytest
from jinja2 import Environment
from redis import Redis

from taskqueue.jobtypes.registry import JobTypes
from taskqueue.settings import Settings
from taskqueue.web import warm_up
from web import create_app

PAGES = (
    "",
    "tasks",
    "failures",
    "queues",
    "types",
    "workers",
    "schedules",
    "batches",
    "bulk",
    "changes",
    "submit",
)


def test_after_it_no_page_compiles_a_template(
    settings: Settings, job_types: JobTypes, redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = create_app(settings, job_types)
    warm_up()
    monkeypatch.delattr(Environment, "compile")  # a page that needs it would fail
    client = app.test_client()
    assert [client.get(f"/console/{page}").status_code for page in PAGES] == [200] * len(PAGES)
    assert client.get("/console/no-such-page").status_code == 404
    assert "nothing here" in client.get("/console/no-such-page").text


def test_it_does_without_redis(settings: Settings, job_types: JobTypes) -> None:
    create_app(replace(settings, redis_url="redis://127.0.0.1:1/0"), job_types)
    warm_up()
