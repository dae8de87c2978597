"""Pages of other sites in a browser: they change and read nothing, unless CORS_ORIGINS names them."""

import os
from collections.abc import Iterator
from dataclasses import replace
from http.client import HTTPConnection, HTTPResponse

import pytest
from flask import Flask
from flask.testing import FlaskClient
from redis import Redis

from taskqueue.enqueue.queue import TaskQueue
from taskqueue.errors import InvalidSetting
from taskqueue.jobtypes.registry import JobTypes
from taskqueue.settings import Settings
from taskqueue.settings.api_keys import new_key
from tests.taskqueue.web.conftest import problem, served
from web import create_app

FRONT_END = "http://localhost:3000"
CHANGES = [
    ("POST", "/tasks?task_type=generic"),
    ("POST", "/files"),
    ("POST", "/tasks/bulk"),
    ("POST", "/requeue?type=generic"),
    ("POST", "/queues/default/pause"),
    ("PUT", "/schedules/s"),
    ("DELETE", "/schedules/s"),
    ("POST", "/nope"),
    ("POST", "/rq/job/it/delete"),
]
OTHER_SITES = [
    {"Sec-Fetch-Site": "cross-site"},
    {"Sec-Fetch-Site": "same-site"},
    {"Sec-Fetch-Site": "cross-site", "Origin": "http://localhost"},
    {"Origin": "http://evil.example"},
    {"Origin": "http://localhost:3000"},
    {"Origin": "null"},
    {"Origin": "http://["},
    {"Origin": ""},
]


@pytest.mark.parametrize("headers", OTHER_SITES)
@pytest.mark.parametrize(("method", "path"), CHANGES)
def test_another_site_changes_nothing(
    client: FlaskClient, redis: Redis, method: str, path: str, headers: dict[str, str]
) -> None:
    response = client.open(path, method=method, data=b"{}", headers=headers | {"Content-Type": "application/json"})
    assert response.status_code == 403
    if not path.startswith("/rq"):
        assert problem(response, 403)["type"] == "urn:problem:other-site"
    assert not redis.keys("*")


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Origin": "http://localhost"},
        {
            "Sec-Fetch-Site": "same-origin",
            "Origin": "http://localhost:3000",
        },  # by the proxy of a developer's server
        {"Sec-Fetch-Site": "none"},
    ],
)
def test_its_own_pages_and_programs_may_change_it(client: FlaskClient, headers: dict[str, str]) -> None:
    assert client.post("/tasks?task_type=generic", json={}, headers=headers).status_code == 202


def test_another_site_may_link_to_it(client: FlaskClient) -> None:
    assert client.get("/tasks", headers=OTHER_SITES[0]).status_code == 200


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:8000", "localhost.evil.example", "2130706433", "[", "a b"]
)
@pytest.mark.parametrize("path", ["/tasks", "/rq/", "/metrics", "/openapi.json", "/nope"])
def test_an_unknown_name_is_refused(client: FlaskClient, path: str, host: str) -> None:
    response = client.get(path, headers={"Host": host})
    assert response.status_code == 403
    assert "ALLOWED_HOSTS" in response.text


@pytest.mark.parametrize(
    "host",
    [
        "localhost",
        "LOCALHOST:8000",
        "ada-tasks.localhost",
        "localhost.",
        "127.0.0.1:8000",
        "10.1.2.3:8000",
        "[::1]:8000",
    ],
)
def test_addresses_and_loopback_names_are_known(client: FlaskClient, host: str) -> None:
    assert client.get("/tasks", headers={"Host": host}).status_code == 200
    assert client.get("/readyz", headers={"Host": host}).status_code == 200


def test_a_probe_without_a_host_is_answered(app: Flask) -> None:
    with served(app) as site:
        connection = HTTPConnection(site.removeprefix("http://"))
        connection.putrequest("GET", "/healthz", skip_host=True)
        connection.endheaders()
        assert connection.getresponse().status == 200
        connection.close()


@pytest.mark.parametrize(
    ("allowed", "host", "status"),
    [
        ("tasks.example.com", "Tasks.Example.com:8000", 200),
        ("tasks.example.com", "tasks.example.com.evil.example", 403),
        ("*.example.com", "a.b.example.com", 200),
        ("*.example.com", "example.com", 403),
        ("*.example.com", "evilexample.com", 403),
        ("a, task-api", "task-api", 200),
        ("*", "evil.example", 200),
    ],
)
def test_a_setting_allows_names(
    env: pytest.MonkeyPatch, job_types: JobTypes, allowed: str, host: str, status: int
) -> None:
    env.setenv("ALLOWED_HOSTS", allowed)
    client = create_app(Settings.read(os.environ), job_types).test_client()
    assert client.get("/tasks", headers={"Host": host}).status_code == status


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("ALLOWED_HOSTS", "tasks.example.com:8000"),
        ("ALLOWED_HOSTS", "https://tasks.example.com"),
        ("ALLOWED_HOSTS", "tasks.*"),
        ("CORS_ORIGINS", "*"),
        ("CORS_ORIGINS", "null"),
        ("CORS_ORIGINS", "app.example.com"),
        ("CORS_ORIGINS", "https://app.example.com/"),
        ("CORS_ORIGINS", "https://a.example,ftp://b.example"),
    ],
)
def test_a_bad_value_stops_the_start(name: str, value: str) -> None:
    with pytest.raises(InvalidSetting, match=name):
        Settings.read({name: value})


def test_with_keys_names_and_sites_do_not_matter(settings: Settings, job_types: JobTypes) -> None:
    secret, key = new_key("shop", "submit")
    client = create_app(replace(settings, api_keys=(key,)), job_types).test_client()
    headers = {"Authorization": f"Bearer {secret}", "Host": "tasks.example.com", "Sec-Fetch-Site": "cross-site"}
    assert client.post("/tasks?task_type=generic", json={}, headers=headers).status_code == 202


class TestAllowedFrontEnd:
    @pytest.fixture(params=["open", "keys"])
    def site_and_key(
        self, request: pytest.FixtureRequest, env: pytest.MonkeyPatch, job_types: JobTypes
    ) -> Iterator[tuple[str, dict[str, str]]]:
        secret, key = new_key("shop", "submit")
        env.setenv("CORS_ORIGINS", f"https://app.example.com:443, {FRONT_END}")
        if request.param == "keys":
            env.setenv("API_KEYS", key.entry())
        with served(create_app(Settings.read(os.environ), job_types)) as site:
            yield site, {"Authorization": f"Bearer {secret}"} if request.param == "keys" else {}

    def ask(self, site: str, method: str, path: str, headers: dict[str, str], body: str = "") -> HTTPResponse:
        connection = HTTPConnection(site.removeprefix("http://"), timeout=20)
        connection.request(method, path, body, headers | {"Content-Type": "application/json"})
        return connection.getresponse()

    def test_it_may_submit_read_and_follow(
        self, site_and_key: tuple[str, dict[str, str]], queue: TaskQueue
    ) -> None:
        site, key = site_and_key
        browser = {"Origin": FRONT_END, "Sec-Fetch-Site": "same-site"}
        asked = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "authorization,prefer"}
        preflight = self.ask(site, "OPTIONS", "/tasks?task_type=generic", browser | asked)
        assert preflight.status == 204
        assert preflight.headers["Access-Control-Allow-Origin"] == FRONT_END
        assert "POST" in preflight.headers["Access-Control-Allow-Methods"]
        assert preflight.headers["Access-Control-Allow-Headers"] == "authorization,prefer"
        posted = self.ask(site, "POST", "/tasks?task_type=generic", browser | key, "{}")
        assert (posted.status, posted.headers["Access-Control-Allow-Origin"]) == (202, FRONT_END)
        assert "Location" in posted.headers["Access-Control-Expose-Headers"]
        assert "Origin" in posted.headers["Vary"]
        task = posted.headers["Location"]
        stream = self.ask(site, "GET", f"{task}/events", browser | key)
        assert (stream.status, stream.headers["Access-Control-Allow-Origin"]) == (200, FRONT_END)
        assert stream.readline() == b"retry: 2000\n"
        stream.close()

    def test_it_can_read_each_error(self, site_and_key: tuple[str, dict[str, str]]) -> None:
        site, key = site_and_key
        for path, body in (("/tasks?task_type=emial", "{}"), ("/tasks", "x"), ("/nope", ""), ("/tasks/bulk", "")):
            for headers in (key, {}):
                answer = self.ask(site, "POST", path, {"Origin": FRONT_END} | headers, body)
                assert answer.status >= 400
                assert answer.headers["Access-Control-Allow-Origin"] == FRONT_END

    @pytest.mark.parametrize(
        "origin", ["http://evil.example", "http://localhost:3001", "https://localhost:3000", "null"]
    )
    def test_no_other_is_allowed(self, site_and_key: tuple[str, dict[str, str]], origin: str) -> None:
        site, key = site_and_key
        asked = {"Origin": origin, "Access-Control-Request-Method": "POST"}
        for method in ("OPTIONS", "GET"):
            answer = self.ask(site, method, "/tasks", asked | key)
            assert "Access-Control-Allow-Origin" not in answer.headers
            assert "Origin" in answer.headers["Vary"]

    def test_the_dashboard_is_not_for_it(self, site_and_key: tuple[str, dict[str, str]]) -> None:
        site, _ = site_and_key
        answer = self.ask(site, "POST", "/rq/job/it/delete", {"Origin": FRONT_END})
        assert answer.status in (401, 403)
        assert "Access-Control-Allow-Origin" not in answer.headers
