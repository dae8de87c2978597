"""Under a path prefix, which a proxy removes and sends as X-Forwarded-Prefix, all addresses lead to the API."""

import re
from dataclasses import replace
from urllib.parse import urljoin

import pytest
from flask import Flask
from flask.testing import FlaskClient
from werkzeug.middleware.dispatcher import DispatcherMiddleware
from werkzeug.middleware.proxy_fix import ProxyFix

from taskqueue.jobtypes.registry import JobTypes
from taskqueue.settings import Settings
from taskqueue.web import create_app as library_app
from web import create_app

PREFIX = {"X-Forwarded-Prefix": "/jobs"}


@pytest.fixture
def behind_proxy(settings: Settings, job_types: JobTypes) -> FlaskClient:
    return create_app(replace(settings, trust_forwarded_prefix=True), job_types).test_client()


def test_every_address_has_the_prefix(behind_proxy: FlaskClient) -> None:
    task = {"json": {}, "headers": PREFIX}
    for _ in range(2):
        posted = behind_proxy.post("/tasks?task_type=generic", **task)
    assert posted.headers["Location"] == f"/jobs/tasks/{posted.get_json()['id']}"
    file = behind_proxy.post("/files", data=b"x", headers=PREFIX)
    assert file.headers["Location"].startswith("/jobs/files/")
    page = behind_proxy.get("/tasks?limit=1", headers=PREFIX)
    assert page.headers["Link"].startswith("</jobs/tasks?")
    assert behind_proxy.get("/", headers=PREFIX).get_json()["docs"] == "/jobs/docs"
    assert behind_proxy.get("/openapi.json", headers=PREFIX).get_json()["servers"] == [{"url": "/jobs"}]
    assert behind_proxy.get("/rq/", headers=PREFIX, follow_redirects=False).status_code in (200, 302, 308)
    dashboard = behind_proxy.get("/rq/", headers=PREFIX, follow_redirects=True).text
    links = re.findall(r'(?:src|href)="(/[^"]*)"', dashboard)
    assert links
    assert all(link.startswith("/jobs/rq/") for link in links)


@pytest.mark.parametrize("prefix", ["", "/jobs"])
def test_the_page_of_the_docs_finds_its_parts(behind_proxy: FlaskClient, prefix: str) -> None:
    headers = {"X-Forwarded-Prefix": prefix} if prefix else {}
    parts = re.findall(r'(?:src|href)="([^"]+)"', behind_proxy.get("/docs", headers=headers).text)
    assert len(parts) == 4
    for part in parts:
        path = urljoin(f"http://localhost{prefix}/docs", part).removeprefix("http://localhost")
        assert path.startswith(f"{prefix}/docs/")
        with behind_proxy.get(path.removeprefix(prefix), headers=headers) as response:
            assert response.status_code == 200


@pytest.mark.parametrize("trusted", [False, True])
@pytest.mark.parametrize("fixed_outside", [False, True])
def test_mounted_in_another_application_the_addresses_have_both_paths(
    settings: Settings, job_types: JobTypes, trusted: bool, fixed_outside: bool
) -> None:
    outer = Flask("outer")
    inner = library_app(replace(settings, trust_forwarded_prefix=trusted), job_types)
    outer.wsgi_app = DispatcherMiddleware(outer.wsgi_app, {"/jobs": inner})  # type: ignore[method-assign]
    if fixed_outside:
        outer.wsgi_app = ProxyFix(outer.wsgi_app, x_for=0, x_proto=0, x_prefix=1)  # type: ignore[method-assign]
    client = outer.test_client()
    alone = client.post("/jobs/tasks?task_type=generic", json={})
    assert alone.headers["Location"].startswith("/jobs/tasks/")
    assert client.get(alone.headers["Location"]).status_code == 200
    behind = client.post("/jobs/tasks?task_type=generic", json={}, headers={"X-Forwarded-Prefix": "/front"})
    expected = "/front/jobs/tasks/" if trusted or fixed_outside else "/jobs/tasks/"
    assert behind.headers["Location"].startswith(expected)
    missing = client.get("/elsewhere")
    assert (missing.status_code, missing.content_type) == (404, "text/html; charset=utf-8")  # its own answer


def test_the_header_counts_only_where_the_proxy_is_trusted(client: FlaskClient) -> None:
    posted = client.post("/tasks?task_type=generic", json={}, headers=PREFIX)
    assert posted.headers["Location"].startswith("/tasks/")
    assert "servers" not in client.get("/openapi.json", headers=PREFIX).get_json()


def test_a_trusted_proxy_gives_the_server_no_other_name(behind_proxy: FlaskClient) -> None:
    headers = PREFIX | {"Host": "evil.example", "X-Forwarded-Host": "localhost"}
    assert behind_proxy.get("/tasks", headers=headers).status_code == 403
