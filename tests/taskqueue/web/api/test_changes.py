"""The record of changes over HTTP: each change is in it once, with who made it."""

from collections.abc import Callable
from dataclasses import replace

import pytest
from flask.testing import FlaskClient
from redis import Redis

from taskqueue.enqueue.queue import TaskQueue
from taskqueue.jobtypes.registry import JobTypes
from taskqueue.settings import Settings
from taskqueue.settings.api_keys import new_key
from taskqueue.telemetry.changes import MAX_CHANGES, Changes
from web import create_app


def changes(client: FlaskClient, **headers: str) -> list[tuple[str, str, str]]:
    answer = client.get("/changes", headers=headers).get_json()["changes"]
    return [(change["who"], change["what"], change["target"]) for change in answer]


def test_a_pause_is_recorded(client: FlaskClient) -> None:
    client.post("/queues/low/pause", headers={"X-Request-Id": "abc"})
    (change,) = client.get("/changes").get_json()["changes"]
    shown = {name: change[name] for name in ("who", "via", "what", "target", "request_id")}
    assert shown == {
        "who": "anybody", "via": "http", "what": "queue-paused", "target": "low", "request_id": "abc",
    }  # fmt: skip


EMAIL = {"to": "ada@example.com", "subject": "Hello"}
SCHEDULE = {"task_type": "generic", "interval": 3600}
CALLS: list[tuple[str, Callable[[FlaskClient, str], object]]] = [
    ("queue-resumed", lambda client, _: client.post("/queues/low/resume")),
    ("task-canceled", lambda client, task: client.post(f"/tasks/{task}/cancel")),
    ("task-deleted", lambda client, task: client.delete(f"/tasks/{task}")),
    ("schedule-stored", lambda client, _: client.put("/schedules/nightly", json=SCHEDULE)),
    ("tasks-requeued", lambda client, _: client.post("/requeue?type=generic")),
]


@pytest.mark.parametrize(("what", "call"), CALLS, ids=[what for what, _ in CALLS])
def test_each_change_is_recorded_once(
    what: str, call: Callable[[FlaskClient, str], object], client: FlaskClient, queue: TaskQueue
) -> None:
    call(client, queue.submit("generic", {}).id)
    assert [entry[1] for entry in changes(client)] == [what]


def test_the_schedule_operations_are_recorded(client: FlaskClient) -> None:
    client.put("/schedules/nightly", json=SCHEDULE)
    for operation in ("pause", "resume", "run"):
        client.post(f"/schedules/nightly/{operation}")
    client.delete("/schedules/nightly")
    assert [entry[1:] for entry in changes(client)] == [
        ("schedule-deleted", "nightly"), ("schedule-run", "nightly"), ("schedule-resumed", "nightly"),
        ("schedule-paused", "nightly"), ("schedule-stored", "nightly"),
    ]  # fmt: skip


def test_what_changes_nothing_is_not_recorded(client: FlaskClient, queue: TaskQueue) -> None:
    client.post("/tasks?task_type=generic", json={})  # a submission: the task itself shows it
    client.post("/requeue?type=generic&dry_run=true")
    client.post("/queues/no-such-queue/pause")
    client.post("/tasks/no-such-task/cancel")
    client.get("/queues")
    assert changes(client) == []


@pytest.mark.parametrize("call", ["/requeue?type=generic", "/bulk?action=delete&q=type:generic"])
def test_a_call_that_says_that_it_is_no_dry_run_is_recorded(client: FlaskClient, call: str) -> None:
    assert client.post(f"{call}&dry_run=false").status_code == 202
    assert len(changes(client)) == 1
    assert client.post(f"{call}&dry_run=true").status_code == 200
    assert len(changes(client)) == 1


def test_the_buttons_of_the_dashboard_are_recorded(client: FlaskClient, queue: TaskQueue) -> None:
    task = queue.submit("generic", {})
    assert client.post(f"/rq/job/{task.id}/delete").status_code == 200
    (change,) = client.get("/changes").get_json()["changes"]
    assert (change["via"], change["what"], change["target"]) == ("dashboard", "delete-job", task.id)


def test_a_key_is_named_and_a_limited_one_sees_its_types_only(
    settings: Settings, job_types: JobTypes, queue: TaskQueue
) -> None:
    ops_secret, ops = new_key("ops", "operate")
    mailer_secret, mailer = new_key("mailer", "read", ["email"])
    client = create_app(replace(settings, api_keys=(ops, mailer)), job_types).test_client()
    as_ops, as_mailer = ({"Authorization": f"Bearer {secret}"} for secret in (ops_secret, mailer_secret))
    email = queue.submit("email", EMAIL)
    other = queue.submit("generic", {})
    for task in (email, other):
        client.post(f"/tasks/{task.id}/cancel", headers=as_ops)
    client.post("/queues/low/pause", headers=as_ops)
    client.put(
        "/schedules/weekly", json={"task_type": "email", "payload": EMAIL, "interval": 604800}, headers=as_ops
    )
    client.delete("/schedules/weekly", headers=as_ops)
    for task in (email, other):
        client.delete(f"/tasks/{task.id}", headers=as_ops)
    assert {who for who, _, _ in changes(client, **as_ops)} == {"ops"}
    assert len(changes(client, **as_ops)) == 7
    assert changes(client, **as_mailer) == [
        ("ops", "task-deleted", email.id),
        ("ops", "schedule-deleted", "weekly"),
        ("ops", "schedule-stored", "weekly"),
        ("ops", "task-canceled", email.id),
    ]


def test_the_pages_go_through_all_changes(client: FlaskClient, redis: Redis) -> None:
    record = Changes(redis)
    for number in range(7):
        record.record("ada", "http", "queue-paused", str(number))
    seen: list[str] = []
    below = ""
    while below is not None:
        page = client.get(f"/changes?limit=3{'&below=' + below if below else ''}").get_json()
        seen += [change["target"] for change in page["changes"]]
        below = page["next"]
    assert seen == [str(number) for number in reversed(range(7))]
    assert client.get("/changes?below=x").status_code == 400
    for below in ("0-0", "00-0", "0-1", "9999999999999999-9999999999999999"):
        assert client.get(f"/changes?below={below}").status_code == 200


def test_the_record_is_bounded(redis: Redis) -> None:
    record = Changes(redis)
    with redis.pipeline() as pipeline:
        for _ in range(MAX_CHANGES):
            pipeline.xadd("tq:changes", {"what": "x"})
        pipeline.execute()
    for _ in range(300):
        record.record("ada", "http", "queue-paused", "x" * 10_000)
    assert redis.xlen("tq:changes") <= MAX_CHANGES + 200  # Redis cuts a stream by whole nodes
    (latest,), _ = record.page(1)
    assert len(latest.target) == 500


def test_a_change_that_cannot_be_recorded_is_made_all_the_same(client: FlaskClient, redis: Redis) -> None:
    redis.set("tq:changes", "rubbish")
    assert client.post("/queues/low/pause").status_code == 200
    assert client.get("/queues").get_json()["queues"][2]["paused"]
