"""The runs of a task and who sent it, as GET /tasks/<id> shows them and as a search finds them."""

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime

import pytest
from flask.testing import FlaskClient

from taskqueue.enqueue.queue import TaskQueue
from taskqueue.jobtypes.registry import JobTypes
from taskqueue.settings import Settings
from taskqueue.settings.api_keys import new_key
from web import create_app

Work = Callable[..., str]


def test_each_run_has_its_times_worker_release_and_error(
    client: FlaskClient, queue: TaskQueue, work: Work, env: pytest.MonkeyPatch
) -> None:
    env.setenv("RELEASE", "v42")
    task = queue.submit("flaky", {"failures": 2})
    assert client.get(f"/tasks/{task.id}").get_json()["runs"] == []
    work("--name", "the-worker")
    answer = client.get(f"/tasks/{task.id}").get_json()
    runs = answer["runs"]
    assert [(run["attempt"], run["outcome"]) for run in runs] == [(1, "failed"), (2, "failed"), (3, "complete")]
    assert {(run["worker"], run["release"]) for run in runs} == {("the-worker", "v42")}
    assert [run["error"] and run["error"]["message"] for run in runs] == [
        "the line is down, run 1", "the line is down, run 2", None,
    ]  # fmt: skip
    times = [datetime.fromisoformat(run[name]) for run in runs for name in ("started_at", "ended_at")]
    assert times == sorted(times)
    assert len(answer["errors"]) == 2
    (found,) = client.get("/tasks?q=release:v42").get_json()["tasks"]
    assert (found["id"], found["release"]) == (task.id, "v42")
    assert client.get("/tasks?q=release:v41").get_json()["tasks"] == []


def test_a_run_whose_horse_died_is_one_of_them(client: FlaskClient, queue: TaskQueue, work: Work) -> None:
    task = queue.submit("crash", {})
    work()
    runs = client.get(f"/tasks/{task.id}").get_json()["runs"]
    assert [(run["attempt"], run["outcome"]) for run in runs] == [(1, "failed"), (2, "failed")]
    assert all(run["error"]["type"] == "WorkHorseTerminated" for run in runs)


@pytest.mark.parametrize("is_long_way", [False, True])
def test_a_task_knows_who_sent_it(settings: Settings, job_types: JobTypes, is_long_way: bool) -> None:
    secret, key = new_key("shop", "operate")
    client = create_app(replace(settings, api_keys=(key,)), job_types).test_client()
    headers = {"Authorization": f"Bearer {secret}"}
    query = "&tags=x" if is_long_way else ""
    answer = client.post(f"/tasks?task_type=generic{query}", json={}, headers=headers).get_json()
    assert answer["sent_by"] == "shop"
    assert client.get(f"/tasks/{answer['id']}", headers=headers).get_json()["sent_by"] == "shop"
    bulk = client.post("/tasks/bulk", json=[{"task_type": "generic", "payload": {}}], headers=headers).get_json()
    found = client.get("/tasks?q=by:shop", headers=headers).get_json()["tasks"]
    assert [task["id"] for task in found] == [bulk["results"][0]["id"], answer["id"]]
    assert client.get("/tasks?q=by:other", headers=headers).get_json()["tasks"] == []


def test_nobody_known_has_sent_a_task_while_the_api_is_open(client: FlaskClient) -> None:
    assert client.post("/tasks?task_type=generic", json={}).get_json()["sent_by"] is None
