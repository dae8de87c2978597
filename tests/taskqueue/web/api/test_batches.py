"""The HTTP contract of `/tasks/bulk` and `/batches`."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from flask.testing import FlaskClient
from redis import Redis
from werkzeug.test import TestResponse

from tests.taskqueue.web.conftest import problem

Work = Callable[..., str]


def bulk(client: FlaskClient, tasks: list[Any], query: str = "", **headers: str) -> TestResponse:
    return client.post(f"/tasks/bulk{query}", json=tasks, headers=headers)


def tasks_of(count: int, task_type: str = "generic") -> list[dict[str, object]]:
    return [{"task_type": task_type, "payload": {"n": n}} for n in range(count)]


def test_many_tasks_are_queued_at_once(client: FlaskClient, work: Work) -> None:
    response = bulk(client, [*tasks_of(2), {"task_type": "week", "payload": {"of": "2026-11-23"}, "tags": ["a"]}])
    answer = response.get_json()
    assert (response.status_code, answer["queued"], answer["refused"], answer["on_complete"]) == (202, 3, 0, None)
    first, _, last = (client.get(f"/tasks/{result['id']}").get_json() for result in answer["results"])
    assert (first["payload"], last["queue"], last["tags"]) == ({"n": 0}, "low", ["a"])
    location = response.headers["Location"]
    waiting = client.get(location).get_json()
    assert (waiting["id"], waiting["total"], waiting["counts"]["queued"]) == (answer["batch"], 3, 3)
    assert (waiting["progress"], waiting["ended_at"]) == (0, None)
    work()
    done = client.get(location).get_json()
    assert (done["ended"], done["progress"], done["counts"]["complete"]) == (3, 1, 3)


def test_the_tasks_keep_their_order_whatever_they_say(client: FlaskClient, redis: Redis) -> None:
    sent = [
        {"task_type": "generic", "payload": {"n": n}} | ({"tags": ["odd"]} if n % 3 == 1 else {}) for n in range(9)
    ]
    answer = bulk(client, sent).get_json()
    ids = [result["id"] for result in answer["results"]]
    assert [client.get(f"/tasks/{task_id}").get_json()["payload"]["n"] for task_id in ids] == list(range(9))
    assert [job_id.decode() for job_id in redis.lrange("rq:queue:default", 0, -1)] == ids
    assert [job_id.decode() for job_id in redis.lrange(f"tq:batch:{answer['batch']}:tasks", 0, -1)] == ids


def test_tasks_of_several_types_keep_their_order_on_each_queue(client: FlaskClient, redis: Redis) -> None:
    payloads = {"generic": {}, "steps": {"count": 2}, "week": {"of": "2026-11-23"}}  # the last one's queue is low
    answer = bulk(client, [{"task_type": name, "payload": payloads[name]} for name in [*payloads] * 3]).get_json()
    ids = [result["id"] for result in answer["results"]]
    waiting = [
        [job_id.decode() for job_id in redis.lrange(f"rq:queue:{name}", 0, -1)] for name in ("default", "low")
    ]
    assert waiting == [[task_id for place, task_id in enumerate(ids) if place % 3 != 2], ids[2::3]]
    assert [job_id.decode() for job_id in redis.lrange(f"tq:batch:{answer['batch']}:tasks", 0, -1)] == ids


def test_a_task_of_many_is_stored_as_any_other(client: FlaskClient, redis: Redis) -> None:
    alone = client.post("/tasks?task_type=steps", json={"count": 2}).get_json()["id"]
    plain, tagged = (
        bulk(client, [{"task_type": "steps", "payload": {"count": 2}} | more]).get_json()["results"][0]["id"]
        for more in ({}, {"timeout": 180})
    )
    stored = [redis.hgetall(f"rq:job:{task_id}") for task_id in (alone, plain, tagged)]
    differs = {b"created_at", b"enqueued_at", b"retry_intervals", b"tq:trace"}
    first, *others = [{field: one[field] for field in one if field not in differs} for one in stored]
    assert others == [first, first]
    assert stored[0].keys() == stored[1].keys()
    for index in ("tq:index", "tq:index:type:steps"):
        assert set(redis.zrange(index, 0, -1)) == {alone.encode(), plain.encode(), tagged.encode()}
    assert redis.smembers("rq:queues") == {b"rq:queue:default"}


def test_lines_are_taken_as_an_array_is(client: FlaskClient) -> None:
    lines = "\n".join(json.dumps(task) for task in tasks_of(3)) + "\n"
    response = client.post("/tasks/bulk", data=lines, content_type="application/x-ndjson")
    assert response.get_json()["queued"] == 3


def test_one_that_is_wrong_keeps_all_from_being_queued(client: FlaskClient, redis: Redis) -> None:
    wrong = [
        *tasks_of(1),
        {"task_type": "emial"},
        {"task_type": "week", "payload": {"of": "soon"}},
        {"task_type": "generic", "attempts": 0},
        {"task_type": "generic", "dealy": 1},
        {"task_type": "generic", "depends_on": ["nope"]},
        {},
    ]
    document = problem(bulk(client, wrong), 422)
    assert document["type"] == "urn:problem:invalid-batch"
    assert "6 of 7 tasks" in document["detail"]
    pointers = [error["pointer"] for error in document["errors"]]
    assert pointers == [
        "/1/task_type",
        "/2/payload/of",
        "/3/attempts",
        "/4/dealy",
        "/5/depends_on",
        "/6/task_type",
    ]
    assert redis.dbsize() == 0


def test_without_atomic_each_task_has_a_result_of_its_own(client: FlaskClient) -> None:
    parent = client.post("/tasks?task_type=generic", json={}).get_json()["id"]
    sent = [
        {"task_type": "emial"},
        {"task_type": "generic", "depends_on": ["nope"]},
        {"task_type": "generic", "depends_on": [parent]},
        *tasks_of(1),
    ]
    answer = bulk(client, sent, "?atomic=false").get_json()
    assert (answer["queued"], answer["refused"]) == (2, 2)
    wrong, orphan, child, good = answer["results"]
    assert wrong["errors"][0]["pointer"] == "/task_type"
    assert "no task 'nope'" in orphan["errors"][0]["message"]
    assert client.get(f"/tasks/{child['id']}").get_json()["status"] == "deferred"
    assert client.get(f"/tasks/{good['id']}").get_json()["payload"] == {"n": 0}
    assert client.get(f"/batches/{answer['batch']}").get_json()["total"] == 2


def test_what_stands_in_the_way_of_any_of_them_is_told(client: FlaskClient) -> None:
    answer = bulk(client, [*tasks_of(2), {"task_type": "generic", "queue": "low"}]).get_json()
    assert [warning["code"] for warning in answer["warnings"]] == ["no-worker", "no-worker"]
    assert "'default'" in answer["warnings"][0]["message"]


def test_a_full_redis_takes_none_of_them(client: FlaskClient, redis: Redis) -> None:
    redis.config_set("maxmemory", "1mb")
    try:
        document = problem(bulk(client, [*tasks_of(3), {"task_type": "generic", "tags": ["a"]}]), 503)
    finally:
        redis.config_set("maxmemory", "0")
    assert document["type"] == "urn:problem:queue-unavailable"
    assert redis.dbsize() == 0
    assert bulk(client, tasks_of(1)).status_code == 202


@pytest.mark.parametrize("body", ["[]", "", " \n"])
def test_a_batch_without_tasks_is_a_422(client: FlaskClient, body: str) -> None:
    response = client.post("/tasks/bulk", data=body, content_type="application/json")
    assert problem(response, 422)["errors"] == [{"pointer": "", "message": "There are no tasks in it"}]


def test_what_is_no_json_is_a_400_that_names_the_item(client: FlaskClient, redis: Redis) -> None:
    response = client.post(
        "/tasks/bulk", data='[{"task_type": "generic"}, {"a": ]', content_type="application/json"
    )
    assert problem(response, 400)["detail"].startswith("Item 1: ")
    assert redis.dbsize() == 0


def test_more_than_a_batch_may_have_is_a_413(client: FlaskClient, redis: Redis) -> None:
    assert "10,000 tasks" in problem(bulk(client, [{"task_type": "generic"}] * 10_001), 413)["detail"]
    large = b'[{"task_type": "generic", "payload": {"a": "' + b"x" * 900_000 + b'"}},'
    body = b"[" + large[1:] * 38 + b'{"task_type": "generic"}]'
    assert problem(client.post("/tasks/bulk", data=body, content_type="application/json"), 413)
    assert redis.dbsize() == 0


def test_another_content_type_is_a_415(client: FlaskClient) -> None:
    assert "application/x-ndjson" in problem(client.post("/tasks/bulk", data="[]"), 415)["detail"]


def test_one_more_task_runs_when_all_have_ended_and_only_once(
    client: FlaskClient, redis: Redis, work: Work
) -> None:
    after = json.dumps({"task_type": "counted", "queue": "low", "tags": ["after"]})
    sent = [{"task_type": "hopeless"}, {"task_type": "generic", "queue": "low"}]
    answer = client.post("/tasks/bulk", query_string={"on_complete": after}, json=sent).get_json()
    task = f"/tasks/{answer['on_complete']}"
    assert client.get(task).get_json()["status"] == "deferred"
    work("--queues", "default")  # one of the two
    assert client.get(task).get_json()["status"] == "deferred"
    work()
    for _ in range(2):
        assert client.get(task).get_json()["status"] == "complete"
        assert redis.get(f"test:runs:{answer['on_complete']}") == b"1"
        work()
    batch = client.get(f"/batches/{answer['batch']}").get_json()
    assert (batch["counts"]["failed"], batch["counts"]["complete"], batch["on_complete"]) == (
        1,
        1,
        answer["on_complete"],
    )
    assert batch["ended_at"]
    assert redis.zcard("tq:batches") == 0
    assert redis.ttl(f"tq:batch:{answer['batch']}") > 0


def test_tasks_that_are_gone_have_ended(client: FlaskClient, redis: Redis, work: Work) -> None:
    answer = bulk(client, tasks_of(3)).get_json()
    redis.delete(f"rq:job:{answer['results'][1]['id']}")
    work()
    batch = client.get(f"/batches/{answer['batch']}").get_json()
    assert (batch["forgotten"], batch["counts"]["complete"], batch["progress"]) == (1, 2, 1)
    assert batch["ended_at"]


@pytest.mark.parametrize(
    "after", ["generic", "{}", '{"task_type": "generic", "delay": 5}', '{"task_type": "generic", "attempts": 0}']
)
def test_a_last_task_that_is_wrong_is_a_400(client: FlaskClient, after: str) -> None:
    response = client.post("/tasks/bulk", query_string={"on_complete": after}, json=tasks_of(1))
    assert problem(response, 400)["errors"][0]["parameter"] == "on_complete"


def test_duplicates_are_told_and_counted_as_the_task_that_stands_for_them(client: FlaskClient) -> None:
    answer = bulk(client, [{"task_type": "generic", "dedupe": "x"}] * 2).get_json()
    assert answer["results"][0] == answer["results"][1]
    assert client.get(f"/batches/{answer['batch']}").get_json()["counts"]["queued"] == 2


@pytest.mark.parametrize("query", ["", "?atomic=false"])
def test_the_same_request_is_done_once(client: FlaskClient, redis: Redis, query: str) -> None:
    headers = {"Idempotency-Key": "k"}
    sent = tasks_of(3) if not query else [{}, *tasks_of(2)]
    first, again = (client.post(f"/tasks/bulk{query}", json=sent, headers=headers) for _ in range(2))
    assert again.get_json() == first.get_json()
    assert again.headers["Idempotency-Replayed"] == "true"
    assert redis.zcard("tq:index") == first.get_json()["queued"]
    other = client.post(f"/tasks/bulk{query}", json=tasks_of(4), headers=headers)
    assert problem(other, 422)["type"] == "urn:problem:idempotency-mismatch"


def test_a_request_that_is_being_processed_is_a_409(client: FlaskClient, redis: Redis) -> None:
    headers = {"Idempotency-Key": "k"}
    client.post("/tasks/bulk", json=tasks_of(1), headers=headers)
    (record,) = redis.keys("tq:idempotency:*")
    redis.hset(record, "outcome", "processing")
    response = client.post("/tasks/bulk", json=tasks_of(1), headers=headers)
    assert problem(response, 409)["type"] == "urn:problem:still-processing"


@pytest.mark.parametrize("batch_id", ["nope", "x:tasks", "0" * 32])
def test_an_unknown_batch_is_a_404(client: FlaskClient, batch_id: str) -> None:
    assert problem(client.get(f"/batches/{batch_id}"), 404)["type"] == "urn:problem:unknown-batch"
