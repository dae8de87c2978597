"""API keys: their scopes and their task types."""

from dataclasses import replace
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from redis import Redis

from taskqueue.enqueue.queue import TaskQueue
from taskqueue.errors import InvalidSetting
from taskqueue.jobtypes.registry import JobTypes
from taskqueue.settings import Settings
from taskqueue.settings.api_keys import ApiKey, new_key
from taskqueue.web.dashboard import NAME as DASHBOARD
from taskqueue.web.http.endpoint import endpoint_of
from tests.taskqueue.web.conftest import problem
from web import create_app

MADE = {
    "reader": new_key("reader", "read"),
    "shop": new_key("shop", "submit"),
    "ops": new_key("ops", "operate"),
    "mailer": new_key("mailer", "operate", ["email"]),
}


def bearer(name: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {MADE[name][0]}"}


@pytest.fixture
def locked(settings: Settings, job_types: JobTypes) -> FlaskClient:
    """The application with API keys."""
    keys = tuple(key for _secret, key in MADE.values())
    return create_app(replace(settings, api_keys=keys), job_types).test_client()


EMAIL = {"to": "ada@example.com", "subject": "Hello"}


def test_without_keys_the_api_is_open_and_says_so(client: FlaskClient) -> None:
    response = client.post("/tasks?task_type=generic", json={})
    assert (response.status_code, response.headers["X-Access"]) == (202, "open")


@pytest.mark.parametrize(
    "header", [None, "Bearer", "Bearer tq_wrong", "Basic Zm9vOmJhcg==", "tq_wrong", "Bearer \xff"]
)
def test_without_a_key_nothing_is_told_but_health(locked: FlaskClient, header: str | None) -> None:
    headers = {"Authorization": header} if header else {}
    for address in ("/task-types", "/tasks/nope", "/files/nope"):
        response = locked.get(address, headers=headers)
        assert problem(response, 401)["type"] == "urn:problem:no-key"
        assert response.headers["WWW-Authenticate"].startswith("Bearer ")
        assert "X-Access" not in response.headers
    assert problem(locked.post("/tasks?task_type=generic", json={}, headers=headers), 401)
    for address in ("/healthz", "/health", "/readyz", "/"):
        assert locked.get(address, headers=headers).status_code == 200


def test_a_key_opens_what_its_scope_says(locked: FlaskClient) -> None:
    response = locked.post("/tasks?task_type=generic", json={}, headers=bearer("shop"))
    assert response.status_code == 202
    assert locked.get(response.headers["Location"], headers=bearer("reader")).status_code == 200


def test_a_scope_that_is_missing_is_named(locked: FlaskClient) -> None:
    response = locked.post("/tasks?task_type=generic", json={}, headers=bearer("reader"))
    document = problem(response, 403)
    assert (document["scope"], document["detail"]) == (
        "submit",
        "This needs the scope 'submit'; the key 'reader' has 'read'.",
    )
    expected = 'Bearer realm="tasks", error="insufficient_scope", scope="submit"'
    assert response.headers["WWW-Authenticate"] == expected


class TestAKeyThatIsLimitedToJobTypes:
    def test_submits_only_those(self, locked: FlaskClient) -> None:
        assert locked.post("/tasks?task_type=email", json=EMAIL, headers=bearer("mailer")).status_code == 202
        document = problem(locked.post("/tasks?task_type=generic", json={}, headers=bearer("mailer")), 403)
        assert document["known"] == ["email"]

    def test_submits_only_those_among_many(self, locked: FlaskClient, redis: Redis) -> None:
        both = [{"task_type": "email", "payload": EMAIL}, {"task_type": "generic"}]
        for query in ("", "?atomic=false"):
            response = locked.post(f"/tasks/bulk{query}", json=both, headers=bearer("mailer"))
            assert problem(response, 403)["known"] == ["email"]
        after = {"on_complete": '{"task_type": "generic"}'}
        response = locked.post("/tasks/bulk", json=both[:1], query_string=after, headers=bearer("mailer"))
        assert problem(response, 403)
        assert redis.zcard("tq:index") == 0
        assert locked.post("/tasks/bulk", json=both[:1], headers=bearer("mailer")).status_code == 202

    def test_keeps_only_their_schedules(self, locked: FlaskClient) -> None:
        locked.put("/schedules/theirs", json={"task_type": "generic", "interval": 60}, headers=bearer("ops"))
        mine = {"task_type": "email", "payload": EMAIL, "interval": 60}
        assert locked.put("/schedules/mine", json=mine, headers=bearer("mailer")).status_code == 201
        listed = locked.get("/schedules", headers=bearer("mailer")).get_json()["schedules"]
        assert [schedule["name"] for schedule in listed] == ["mine"]
        for method, address in (("get", ""), ("delete", ""), ("post", "/run"), ("post", "/pause")):
            response = getattr(locked, method)(f"/schedules/theirs{address}", headers=bearer("mailer"))
            assert problem(response, 404)["type"] == "urn:problem:unknown-schedule"
        changed = {"task_type": "generic", "interval": 5}
        assert problem(locked.put("/schedules/mine", json=changed, headers=bearer("mailer")), 403)
        assert problem(locked.put("/schedules/theirs", json=mine, headers=bearer("mailer")), 403)

    def test_sees_only_their_tasks(self, locked: FlaskClient, queue: TaskQueue) -> None:
        own, other = queue.submit("email", EMAIL), queue.submit("generic", {})
        assert locked.get(f"/tasks/{own.id}", headers=bearer("mailer")).status_code == 200
        hidden = problem(locked.get(f"/tasks/{other.id}", headers=bearer("mailer")), 404)
        missing = problem(locked.get("/tasks/nope", headers=bearer("mailer")), 404)
        assert hidden["detail"].replace(other.id, "nope") == missing["detail"]

    def test_changes_only_those(self, locked: FlaskClient, queue: TaskQueue) -> None:
        own, other = queue.submit("email", EMAIL), queue.submit("generic", {})
        assert locked.post(f"/tasks/{own.id}/cancel", headers=bearer("mailer")).status_code == 200
        for method, address in (("POST", "cancel"), ("POST", "requeue"), ("DELETE", "")):
            response = locked.open(
                f"/tasks/{other.id}/{address}".rstrip("/"), method=method, headers=bearer("mailer")
            )
            assert problem(response, 404)
        assert queue.get(other.id).status == "queued"

    def test_lists_only_those(self, locked: FlaskClient, queue: TaskQueue) -> None:
        own = queue.submit("email", EMAIL)
        queue.submit("generic", {})
        listed = locked.get("/tasks", headers=bearer("mailer")).get_json()["tasks"]
        assert [task["id"] for task in listed] == [own.id]

    @pytest.mark.parametrize(("method", "address"), [("POST", "/queues/default/pause"), ("GET", "/metrics")])
    def test_does_nothing_that_concerns_all(self, locked: FlaskClient, method: str, address: str) -> None:
        response = locked.open(address, method=method, headers=bearer("mailer"))
        assert problem(response, 403)["type"] == "urn:problem:other-task-type"

    def test_sees_only_those(self, locked: FlaskClient) -> None:
        listed = locked.get("/task-types", headers=bearer("mailer")).get_json()["task_types"]
        assert [one["name"] for one in listed] == ["email"]
        assert problem(locked.get("/task-types/generic", headers=bearer("mailer")), 404)["known"] == ["email"]

    def test_must_name_job_types_that_there_are(self, settings: Settings, job_types: JobTypes) -> None:
        keys = (ApiKey("shop", "submit", "0" * 64, frozenset({"emial"})),)
        with pytest.raises(InvalidSetting, match="'shop' names the task type 'emial'"):
            create_app(replace(settings, api_keys=keys), job_types)

    def test_does_not_open_the_dashboard(self, locked: FlaskClient) -> None:
        assert locked.get("/rq/", auth=("mailer", MADE["mailer"][0])).status_code == 403


class TestTheDashboard:
    @pytest.mark.parametrize("auth", [None, ("ops", "wrong"), ("shop", MADE["ops"][0])])
    def test_asks_for_a_key(self, locked: FlaskClient, auth: Any) -> None:
        response = locked.get("/rq/", auth=auth)
        assert response.status_code == 401
        assert response.headers["WWW-Authenticate"].startswith("Basic ")

    def test_shows_to_those_who_may_read(self, locked: FlaskClient) -> None:
        assert locked.get("/rq/", auth=("reader", MADE["reader"][0])).status_code == 200

    def test_changes_for_those_who_may_operate(self, locked: FlaskClient) -> None:
        address = "/rq/queue/default/compact"
        assert locked.post(address, auth=("shop", MADE["shop"][0])).status_code == 403
        assert locked.post(address, auth=("ops", MADE["ops"][0])).status_code == 200

    def test_takes_dashboard_auth_besides(self, settings: Settings, job_types: JobTypes) -> None:
        both = replace(settings, api_keys=(MADE["ops"][1],), dashboard_auth=("me", "password"))
        client = create_app(both, job_types).test_client()
        assert client.get("/rq/", auth=("me", "password")).status_code == 200
        assert client.get("/rq/", auth=("ops", MADE["ops"][0])).status_code == 200
        assert client.get("/rq/", auth=("ops", "password")).status_code == 401


def test_each_scope_opens_its_addresses_and_no_others(locked: FlaskClient) -> None:
    paths = locked.get("/openapi.json", headers=bearer("ops")).get_json()["paths"]
    allowed = {"reader": ("read",), "shop": ("read", "submit"), "ops": ("read", "submit", "operate")}
    for path, methods in paths.items():
        described = [(method, answer) for method, answer in methods.items() if "security" in answer]
        for method, answer in described:
            needed = answer["description"].rpartition("Needs the scope `")[2].rstrip("`.")
            for name, scopes in allowed.items():
                response = locked.open(path.replace("{", "").replace("}", ""), method=method, headers=bearer(name))
                assert (response.status_code == 403) == (needed not in scopes), (method, path, name)
            assert locked.open(path, method=method).status_code == 401


def test_every_address_says_who_may_call_it(app: Flask) -> None:
    silent = {
        rule.endpoint
        for rule in app.url_map.iter_rules()
        if endpoint_of(app, rule.endpoint) is None
        and not rule.endpoint.startswith((f"{DASHBOARD}.", "console."))  # each has a guard of its own
    }
    assert silent == {"static"}
