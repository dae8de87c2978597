"""The HTTP contract of `/schedules`."""

import pytest
from flask.testing import FlaskClient
from redis import Redis

from tests.taskqueue.web.conftest import problem

NIGHTLY = {"task_type": "generic", "payload": {"a": 1}, "cron": "30 2 * * *", "timezone": "Europe/Berlin"}


def test_a_schedule_is_kept_and_told(client: FlaskClient) -> None:
    response = client.put("/schedules/nightly", json=NIGHTLY)
    kept = response.get_json()
    assert (response.status_code, response.headers["Location"]) == (201, "/schedules/nightly")
    assert kept["payload"] == {"a": 1}
    assert (kept["cron"], kept["timezone"], kept["overlap"], kept["catch_up"]) == (
        "30 2 * * *",
        "Europe/Berlin",
        "skip",
        "once",
    )
    assert (kept["paused"], len(kept["next_runs"]), kept["last_run"], kept["runs"]) == (False, 5, None, 0)
    assert client.get("/schedules/nightly").get_json() == kept
    assert client.get("/schedules").get_json() == {"schedules": [kept]}


def test_the_same_schedule_again_changes_nothing_and_another_one_does(client: FlaskClient) -> None:
    every_hour = {"task_type": "generic", "interval": 3600}
    first = client.put("/schedules/s", json=every_hour).get_json()
    again = client.put("/schedules/s", json=every_hour)
    assert (again.status_code, again.get_json()) == (200, first)
    changed = client.put("/schedules/s", json=every_hour | {"interval": 60}).get_json()
    assert changed["next_runs"][0] < first["next_runs"][0]
    assert (changed["created_at"], changed["interval"]) == (first["created_at"], 60)


def test_a_schedule_can_be_run_now(client: FlaskClient) -> None:
    client.put("/schedules/nightly", json=NIGHTLY)
    response = client.post("/schedules/nightly/run")
    task = response.get_json()
    assert (response.status_code, task["status"], task["tags"]) == (202, "queued", ["schedule:nightly"])
    kept = client.get("/schedules/nightly").get_json()
    assert kept["last_run"] == {"at": task["created_at"], "task": task["id"]}


def test_a_schedule_can_be_paused_and_resumed(client: FlaskClient, redis: Redis) -> None:
    kept = client.put("/schedules/nightly", json=NIGHTLY).get_json()
    for _ in range(2):
        paused = client.post("/schedules/nightly/pause").get_json()
        assert (paused["paused"], paused["next_runs"]) == (True, [])
    changed = client.put("/schedules/nightly", json=NIGHTLY | {"payload": {}}).get_json()
    assert changed["paused"]  # a change does not resume it
    assert client.post("/schedules/nightly/resume").get_json()["next_runs"] == kept["next_runs"]


def test_a_schedule_can_be_deleted(client: FlaskClient, redis: Redis) -> None:
    client.put("/schedules/nightly", json=NIGHTLY)
    assert client.delete("/schedules/nightly").status_code == 204
    assert client.get("/schedules").get_json() == {"schedules": []}
    assert redis.keys() == [b"tq:changes"]


@pytest.mark.parametrize(
    ("method", "address"),
    [("get", ""), ("delete", ""), ("post", "/run"), ("post", "/pause"), ("post", "/resume")],
)
def test_an_unknown_schedule_is_a_404(client: FlaskClient, method: str, address: str) -> None:
    response = getattr(client, method)(f"/schedules/nope{address}")
    assert problem(response, 404)["type"] == "urn:problem:unknown-schedule"


@pytest.mark.parametrize(
    ("change", "code", "pointer"),
    [
        ({"cron": "30 2 * *"}, "invalid-schedule", "/cron"),
        ({"interval": 5}, "invalid-schedule", ""),
        ({"timezone": "Berlin"}, "invalid-schedule", "/timezone"),
        ({"delay": 5}, "invalid-schedule", "/delay"),
        ({"task_type": "week", "payload": {"of": "soon"}}, "invalid-payload", "/payload/of"),
        ({"task_type": "emial"}, "unknown-task-type", None),
        ({"queue": "hihg"}, "unknown-queue", None),
    ],
)
def test_a_schedule_that_is_wrong_is_a_422_and_is_not_kept(
    client: FlaskClient, redis: Redis, change: dict[str, object], code: str, pointer: str | None
) -> None:
    document = problem(client.put("/schedules/s", json=NIGHTLY | change), 422)
    assert document["type"] == f"urn:problem:{code}"
    assert pointer is None or [error["pointer"] for error in document["errors"]] == [pointer]
    assert redis.dbsize() == 0


@pytest.mark.parametrize("name", ["Nightly", "a b", "x" * 51, "-a"])
def test_a_name_that_is_none_is_a_422(client: FlaskClient, name: str) -> None:
    response = client.put(f"/schedules/{name}", json=NIGHTLY)
    assert problem(response, 422)["type"] == "urn:problem:invalid-schedule-name"


def test_there_are_at_most_so_many(client: FlaskClient, redis: Redis) -> None:
    redis.zadd("tq:schedules", {f"s{number}": number for number in range(1000)})
    response = client.put("/schedules/nightly", json=NIGHTLY)
    assert problem(response, 409)["type"] == "urn:problem:too-many-schedules"


@pytest.mark.parametrize(
    "fields",
    [{"schedule": "{"}, {"schedule": "\xff"}, {"other": "x"}, {"schedule": "{}", "next_run": "soon"}, None],
)
def test_what_another_program_wrote_hides_no_schedule(
    client: FlaskClient, redis: Redis, fields: dict[str, str] | None
) -> None:
    client.put("/schedules/good", json=NIGHTLY)
    redis.zadd("tq:schedules", {b"\xff\xfe": 5, "gone": 6, "bad": 7})
    if fields:
        redis.hset("tq:schedule:bad", mapping=fields)
    else:
        redis.set("tq:schedule:bad", "no hash")
    listed = client.get("/schedules").get_json()["schedules"]
    assert [schedule["name"] for schedule in listed] == ["good"]
    problem(client.get("/schedules/bad"), 404 if fields else 503)
    if fields:
        assert client.put("/schedules/bad", json=NIGHTLY).status_code == 201
    assert client.delete("/schedules/bad").status_code == 204
    problem(client.get("/schedules/bad"), 404)
    assert client.delete("/schedules/bad").status_code == 404
