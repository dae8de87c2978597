"""Pauses and changed limits of task types over HTTP: answered, refused, recorded, warned of and explained."""

from dataclasses import replace

import pytest
from flask.testing import FlaskClient
from redis import Redis

from taskqueue.jobtypes.limits import declare
from taskqueue.jobtypes.registry import JobTypes
from taskqueue.settings import Settings
from taskqueue.settings.api_keys import new_key
from taskqueue.worker.settle_and_claim import SettleAndClaim
from tests.taskqueue.web.conftest import problem
from web import create_app

RATED = {"rate": "10/minute"}


def test_a_paused_type_is_shown_everywhere(client: FlaskClient, redis: Redis) -> None:
    answer = client.post("/task-types/generic/pause").get_json()
    assert (answer["task_type"], answer["paused"], answer["held"]) == ("generic", True, 0)
    accepted = client.post("/tasks?task_type=generic", json={}).get_json()
    assert "type-paused" in [warning["code"] for warning in accepted["warnings"]]
    other = client.post("/tasks?task_type=week", json={"of": "2026-11-23"}).get_json()
    assert "type-paused" not in [warning["code"] for warning in other["warnings"]]
    address = f"/tasks/{accepted['id']}/explain"
    assert "type-paused" in [reason["code"] for reason in client.get(address).get_json()["reasons"]]
    assert SettleAndClaim(redis, "one", ["high", "default", "low"], 10)(claim="x").jobs[0].id == other["id"]
    reasons = client.get(address).get_json()["reasons"]  # now a worker has held it
    assert reasons[0]["code"] == "type-paused"
    assert client.get("/task-types/generic/limits").get_json()["held"] == 1
    assert client.get("/tasks?status=queued&type=generic").get_json()["tasks"][0]["id"] == accepted["id"]
    found = [each for each in client.get("/findings").get_json()["findings"] if each["about"] == "type generic"]
    assert [each["ok"] for each in found] == [False]
    assert 'taskqueue_type_paused{task_type="generic"} 1.0' in client.get("/metrics").text
    assert client.post("/task-types/generic/resume").get_json()["paused"] is False
    assert "taskqueue_type_paused{" not in client.get("/metrics").text


def test_limits_are_changed_and_set_back(client: FlaskClient, redis: Redis, job_types: JobTypes) -> None:
    declare(redis, job_types)
    address = "/task-types/two-at-a-time/limits"
    changed = client.put(address, json={"concurrency": 1, "rate": "10/minute"}).get_json()
    assert (changed["concurrency"], changed["rate"], changed["code_concurrency"]) == (1, "10/minute", 2)
    assert 'taskqueue_type_limits_changed{task_type="two-at-a-time"} 1.0' in client.get("/metrics").text
    findings = client.get("/findings").get_json()["findings"]
    (found,) = [each for each in findings if each["about"] == "limits of two-at-a-time"]
    assert found["ok"]
    assert "rate=10/minute; those of the code are concurrency=2" in found["found"]
    assert client.put(address, json={}).get_json()["concurrency"] is None
    back = client.delete(address).get_json()
    assert (back["concurrency"], back["rate"], back["changed_at"]) == (2, None, None)
    changes = client.get("/changes").get_json()["changes"]
    assert [(each["what"], each["target"], each["detail"]) for each in changes] == [
        ("limits-reset", "two-at-a-time", ""),
        ("limits-changed", "two-at-a-time", "no limit"),
        ("limits-changed", "two-at-a-time", "concurrency=1, rate=10/minute"),
    ]


REFUSED: list[object] = [
    *({"concurrency": 0}, {"concurrency": "many"}, {"rate": "10/fortnight"}, {"rate": "0/minute"}, {"x": 1}, []),
]


@pytest.mark.parametrize("body", REFUSED)
def test_limits_that_cannot_be_are_refused(client: FlaskClient, redis: Redis, body: object) -> None:
    answer = problem(client.put("/task-types/generic/limits", json=body), 422)
    assert answer["type"].endswith("invalid-limits")
    assert not redis.exists("tq:limit:generic")


def test_an_unknown_type_is_not_found(client: FlaskClient) -> None:
    for method, path in (("get", "limits"), ("delete", "limits"), ("post", "pause"), ("post", "resume")):
        problem(getattr(client, method)(f"/task-types/nothing/{path}"), 404)
    problem(client.put("/task-types/nothing/limits", json=RATED), 404)


def test_keys_do_what_their_scope_and_types_let_them(settings: Settings, job_types: JobTypes) -> None:
    secrets = {}
    keys = []
    for name, scope, types in (
        ("ops", "operate", ()),
        ("reader", "read", ()),
        ("mailer", "operate", ["email"]),
    ):
        secrets[name], key = new_key(name, scope, types)  # type: ignore[arg-type]
        keys.append(key)
    client = create_app(replace(settings, api_keys=tuple(keys)), job_types).test_client()
    headers = {name: {"Authorization": f"Bearer {secret}"} for name, secret in secrets.items()}
    assert client.get("/limits", headers=headers["reader"]).status_code == 200
    problem(client.post("/task-types/email/pause", headers=headers["reader"]), 403)
    assert client.post("/task-types/email/pause", headers=headers["mailer"]).get_json()["paused"]
    problem(client.post("/task-types/generic/pause", headers=headers["mailer"]), 404)
    seen = client.get("/limits", headers=headers["mailer"]).get_json()["limits"]
    assert [each["task_type"] for each in seen] == ["email"]
    (change,) = client.get("/changes", headers=headers["mailer"]).get_json()["changes"]
    assert (change["who"], change["what"], change["target"]) == ("mailer", "type-paused", "email")
