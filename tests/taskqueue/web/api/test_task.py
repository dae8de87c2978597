"""The HTTP contract of `/tasks`."""

import json
from base64 import b64encode
from collections.abc import Callable
from typing import Any

import pytest
from flask.testing import FlaskClient
from redis import Redis

from tests.taskqueue.web.conftest import problem


def test_a_task_is_accepted(client: FlaskClient) -> None:
    response = client.post("/tasks?task_type=generic", json={"a": 1})
    body = response.get_json()
    assert response.status_code == 202
    assert response.headers["Location"] == f"/tasks/{body['id']}"
    assert {name: body[name] for name in ("type", "payload", "status", "queue")} == {
        "type": "generic",
        "payload": {"a": 1},
        "status": "queued",
        "queue": "default",
    }


def test_a_task_tells_how_it_went(client: FlaskClient, work: Callable[..., str]) -> None:
    location = client.post("/tasks?task_type=generic", json={"a": 1}).headers["Location"]
    waiting = client.get(location).get_json()
    assert (waiting["status"], waiting["attempt"], waiting["started_at"]) == ("queued", 0, None)
    work()
    done = client.get(location).get_json()
    assert (done["status"], done["result"], done["attempt"], done["attempts"]) == ("complete", {"a": 1}, 1, 3)
    assert done["created_at"] <= done["started_at"] <= done["ended_at"]
    assert done["ended_at"].endswith("Z")
    assert (done["error"], done["errors"]) == (None, [])


def test_a_failed_task_tells_why(client: FlaskClient, work: Callable[..., str]) -> None:
    location = client.post("/tasks?task_type=hopeless", json={}).headers["Location"]
    work()
    task = client.get(location).get_json()
    assert task["status"] == "failed"
    assert task["error"]["message"] == "the page is gone (410)"
    assert task["errors"] == [task["error"]]
    assert task["error"]["traceback"].startswith("Traceback")


def test_the_queue_can_be_chosen(client: FlaskClient) -> None:
    assert client.post("/tasks?task_type=generic&queue=high", json={}).get_json()["queue"] == "high"


def test_tags_can_be_given(client: FlaskClient) -> None:
    task = client.post("/tasks?task_type=generic&tags=a,b&attempts=5&timeout=9", json={}).get_json()
    assert (task["tags"], task["attempts"]) == (["a", "b"], 5)
    assert client.get(f"/tasks/{task['id']}").get_json()["tags"] == ["a", "b"]
    assert client.post("/tasks?task_type=generic&tags=a&tags=b&tags=a", json={}).get_json()["tags"] == ["a", "b"]


@pytest.mark.parametrize(
    ("option", "what"),
    [
        ("attempts=0", "greater than or equal to 1"),
        ("attempts=101", "less than or equal to 100"),
        ("timeout=soon", "valid integer"),
        ("tags=a%20b", "A tag is 1 to 64 letters"),
        ("tags=" + ",".join(f"t{n}" for n in range(17)), "at most 16 items"),
    ],
)
def test_a_wrong_option_is_named(client: FlaskClient, redis: Redis, option: str, what: str) -> None:
    document = problem(client.post(f"/tasks?task_type=generic&{option}", json={}), 400)
    assert document["errors"][0]["parameter"] == option.partition("=")[0]
    assert what in document["errors"][0]["message"]
    assert redis.dbsize() == 0


def test_an_unknown_task_is_a_404(client: FlaskClient) -> None:
    assert problem(client.get("/tasks/nope"), 404)["type"] == "urn:problem:unknown-task"


@pytest.mark.parametrize(
    ("address", "title"),
    [
        ("/tasks?task_type=emial", "There is no such task type"),
        ("/tasks", "The query parameter task_type is missing"),
        ("/tasks?task_type=generic&queue=hihg", "There is no such queue"),
    ],
)
def test_a_wrong_name_is_a_422_that_tells_the_known_ones(client: FlaskClient, address: str, title: str) -> None:
    document = problem(client.post(address, json={}), 422)
    assert document["title"] == title
    assert {"generic", "high"} & set(document["known"])


def test_a_payload_that_does_not_fit_is_a_422_with_pointers(client: FlaskClient) -> None:
    response = client.post("/tasks?task_type=week", json={"of": "soon", "weeks": 0, "extra": 1})
    errors = problem(response, 422)["errors"]
    assert [error["pointer"] for error in errors] == ["/of", "/weeks", "/extra"]
    assert all(error["message"] for error in errors)


def test_a_misspelt_parameter_is_not_silently_without_effect(client: FlaskClient) -> None:
    document = problem(client.post("/tasks?task_type=generic&que=high", json={}), 400)
    assert "There is no parameter 'que'" in document["detail"]


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"a=1",
        b'{"a": NaN}',
        b"\xff\xfe",
        b"[" * 100_000,
        b'{"a":' + b"9" * 5000 + b"}",
        b'{"a":"\\ud800"}',
    ],
)
def test_a_body_that_is_no_json_is_a_400(client: FlaskClient, body: bytes) -> None:
    response = client.post("/tasks?task_type=generic", data=body, content_type="application/json")
    assert problem(response, 400)["title"] == "The body is not JSON"


@pytest.mark.parametrize("body", [[1], "text", 7, None])
def test_json_that_is_no_object_is_a_422(client: FlaskClient, body: Any) -> None:
    response = client.post("/tasks?task_type=generic", data=json.dumps(body), content_type="application/json")
    assert problem(response, 422)["errors"] == [{"pointer": "", "message": "The payload must be a JSON object"}]


@pytest.mark.parametrize("content_type", ["text/plain", "application/x-www-form-urlencoded", ""])
def test_another_content_type_is_a_415_with_the_mend(client: FlaskClient, content_type: str) -> None:
    response = client.post("/tasks?task_type=generic", data=b"{}", content_type=content_type)
    assert "-H 'Content-Type: application/json'" in problem(response, 415)["detail"]


def test_a_payload_that_is_too_large_is_a_413(client: FlaskClient) -> None:
    document = problem(client.post("/tasks?task_type=generic", json={"a": "x" * 2**20}), 413)
    assert "at most 1,048,576 bytes are accepted" in document["detail"]


def test_nothing_is_queued_by_a_request_that_is_refused(client: FlaskClient, redis: Redis) -> None:
    client.post("/tasks?task_type=emial", json={})
    client.post("/tasks?task_type=week", json={})
    client.post("/tasks?task_type=generic", data=b"{", content_type="application/json")
    assert redis.dbsize() == 0


def test_an_unknown_address_is_a_problem_document_too(client: FlaskClient) -> None:
    assert problem(client.get("/nope"), 404)["title"] == "There is nothing at this address"


def test_another_method_is_a_405_that_tells_the_right_one(client: FlaskClient) -> None:
    response = client.put("/tasks")
    assert {"GET", "POST"} <= set(response.headers["Allow"].split(", "))
    assert "POST" in problem(response, 405)["detail"]


def test_a_bug_of_ours_is_a_500_that_tells_nothing_else(
    client: FlaskClient, redis: Redis, caplog: pytest.LogCaptureFixture
) -> None:
    redis.hset("rq:job:broken", mapping={"data": "x", "created_at": "no date", "status": "odd"})
    document = problem(client.get("/tasks/broken"), 500)
    assert document["detail"] == "The error is in the server's log."
    assert "GET /tasks/broken failed" in caplog.text


def test_a_task_tells_of_its_callbacks(client: FlaskClient, work: Callable[..., str]) -> None:
    sent = client.post("/tasks?task_type=generic&callback_url=http://127.0.0.1:9/", json={})
    assert client.get(sent.headers["Location"]).get_json()["callbacks"] == []
    work()
    task = client.get(sent.headers["Location"]).get_json()
    (callback,) = task["callbacks"]
    assert callback == {
        "id": f"{task['id']}-callback-1",
        "status": "failed",
        "attempt": 1,
        "attempts": 15,
        "error": "127.0.0.1 is not a public address. To allow it, name 127.0.0.1 in OUTBOUND_ALLOW.",
        "scheduled_for": None,
        "ended_at": callback["ended_at"],
    }
    assert client.get(f"/tasks/{callback['id']}").get_json()["type"] == "tq-callback"


@pytest.mark.parametrize(
    ("result", "answer"),
    [(r'"caf\udce9.txt"', '"caf?.txt"'), ("NaN", "null"), ("[" * 300 + "]" * 300, "[" * 300 + "]" * 300)],
)
def test_whatever_result_another_program_has_stored_the_task_is_told(
    client: FlaskClient, redis: Redis, work: Callable[..., str], result: str, answer: str
) -> None:
    location = client.post("/tasks?task_type=generic", json={}).headers["Location"]
    work()
    results = f"rq:results:{location.removeprefix('/tasks/')}"
    redis.xtrim(results, 0)
    redis.xadd(results, {"type": 1, "return_value": b64encode(result.encode())})
    response = client.get(location)
    assert response.status_code == 200
    assert f'"result":{answer}' in response.text.replace(": ", ":")


def test_a_progress_that_utf_8_cannot_say_is_told(client: FlaskClient, redis: Redis) -> None:
    location = client.post("/tasks?task_type=generic", json={}).headers["Location"]
    progress = r'{"done": 1, "total": 2, "message": "\ud800", "at": "2026-11-24T10:43:05.120Z"}'
    redis.hset(f"rq:job:{location.removeprefix('/tasks/')}", "tq:progress", progress)
    assert client.get(location).get_json()["progress"]["message"] == "?"
    assert client.get("/tasks").get_json()["tasks"][0]["progress"]["message"] == "?"
