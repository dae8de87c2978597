"""`POST /bulk`: many tasks are changed, never more than were seen, with progress and a stop."""

from collections.abc import Callable
from dataclasses import replace

import pytest
from flask.testing import FlaskClient
from redis import Redis

from taskqueue.enqueue.options import SubmitOptions
from taskqueue.enqueue.queue import TaskQueue
from taskqueue.jobtypes.registry import JobTypes
from taskqueue.settings import Settings
from taskqueue.settings.api_keys import new_key
from tests.taskqueue.web.conftest import problem
from web import create_app

Work = Callable[..., str]


@pytest.fixture
def tasks(queue: TaskQueue, work: Work) -> dict[str, str]:
    """Two failed tasks, one that is complete, and one that waits: their ids by what distinguishes them."""
    ended = {
        "failed": queue.submit("hopeless", {}, SubmitOptions(tags=("customer:1",))),
        "other": queue.submit("hopeless", {}, SubmitOptions(queue="low")),
        "done": queue.submit("generic", {}, SubmitOptions(tags=("customer:1",))),
    }
    work()
    waiting = queue.submit("generic", {}, SubmitOptions(delay=600, tags=("customer:1",)))
    return {name: task.id for name, task in (ended | {"waiting": waiting}).items()}


def matching(client: FlaskClient, action: str, search: str) -> set[str]:
    answer = client.post("/bulk", query_string={"action": action, "q": search, "dry_run": "true"}).get_json()
    assert answer["matching"] == len(answer["examples"])
    return set(answer["examples"])


def test_an_action_matches_what_it_can_change(client: FlaskClient, tasks: dict[str, str]) -> None:
    def ids(*names: str) -> set[str]:
        return {tasks[name] for name in names}

    assert matching(client, "requeue", "tag:customer:1") == ids("failed")
    assert matching(client, "requeue", "type:hopeless") == ids("failed", "other")
    assert matching(client, "cancel", "tag:customer:1") == ids("waiting")
    assert matching(client, "delete", "tag:customer:1") == ids("failed", "done", "waiting")
    assert matching(client, "cancel", "status:complete") == set()
    assert matching(client, "requeue", "failed:today queue:low") == ids("other")


def bulk(client: FlaskClient, **query: object) -> str:
    answer = client.post("/bulk", query_string=query)
    assert answer.status_code == 202, answer.text
    return str(answer.get_json()["id"])


def test_a_bulk_action_is_a_task_with_progress_and_a_result(
    client: FlaskClient, tasks: dict[str, str], queue: TaskQueue, work: Work
) -> None:
    action = bulk(client, action="requeue", q="type:hopeless", max=2)
    work()
    done = queue.get(action)
    assert (done.status, done.result) == ("complete", {"changed": 2, "skipped": 0})
    assert done.progress
    assert (done.progress["done"], done.progress["total"]) == (2, 2)
    assert len(queue.get(tasks["failed"]).errors) == 2  # each was tried once more, and not without end
    (listed,) = client.get("/bulk").get_json()["actions"]
    assert listed["payload"]["action"] == "requeue"
    assert ("bulk-action", "") in [
        (each["what"], each["target"]) for each in client.get("/changes").get_json()["changes"]
    ]


def test_tasks_are_canceled_and_deleted(
    client: FlaskClient, tasks: dict[str, str], queue: TaskQueue, work: Work
) -> None:
    bulk(client, action="cancel", q="tag:customer:1")
    work()
    assert queue.get(tasks["waiting"]).status == "canceled"
    bulk(client, action="delete", q="tag:customer:1")
    work()
    assert [name for name, task_id in tasks.items() if client.get(f"/tasks/{task_id}").status_code == 200] == [
        "other"
    ]


def test_more_than_were_seen_are_refused_at_once(client: FlaskClient, tasks: dict[str, str]) -> None:
    refused = problem(client.post("/bulk?action=requeue&q=type:hopeless&max=1"), 409)
    assert refused["type"] == "urn:problem:too-many-match"
    assert client.get("/bulk").get_json() == {"actions": []}


def test_more_than_were_seen_are_refused_when_it_begins(
    client: FlaskClient, tasks: dict[str, str], queue: TaskQueue, redis: Redis, work: Work
) -> None:
    action = bulk(client, action="delete", q="tag:customer:1", max=3)
    redis.hset(f"rq:job:{tasks['other']}", "tq:tags", "customer:1")  # it has come to match meanwhile
    redis.zadd("tq:index:tag:customer:1", {tasks["other"]: 1})
    work()
    ended = queue.get(action)
    assert ended.status == "failed"
    assert ended.error
    assert "More than 3 tasks match" in ended.error.message
    assert queue.get(tasks["failed"]).status == "failed"


def test_tasks_that_come_later_are_not_changed(
    client: FlaskClient, tasks: dict[str, str], queue: TaskQueue, work: Work
) -> None:
    bulk(client, action="cancel", q="tag:customer:1")
    later = queue.submit("generic", {}, SubmitOptions(delay=600, tags=("customer:1",)))
    work()
    assert queue.get(tasks["waiting"]).status == "canceled"
    assert queue.get(later.id).status == "scheduled"


def test_an_action_that_has_not_begun_can_be_undone(
    client: FlaskClient, tasks: dict[str, str], queue: TaskQueue, work: Work
) -> None:
    action = bulk(client, action="delete", q="tag:customer:1", delay=8)
    assert queue.get(action).status == "scheduled"
    assert client.post(f"/tasks/{action}/cancel").status_code == 200
    work()
    assert queue.get(tasks["failed"]).status == "failed"


@pytest.mark.parametrize(
    "query",
    [
        "action=requeue",
        "action=requeue&q=",
        "action=burn&q=type:x",
        "action=cancel&q=nonsense",
        "action=cancel&q=type:x&max=-1",
    ],
)
def test_a_request_that_says_too_little_changes_nothing(client: FlaskClient, query: str) -> None:
    problem(client.post(f"/bulk?{query}"), 400)
    assert client.get("/bulk").get_json() == {"actions": []}


def test_a_limited_key_changes_tasks_of_its_types_only(
    settings: Settings, job_types: JobTypes, tasks: dict[str, str], queue: TaskQueue, work: Work
) -> None:
    secret, key = new_key("mailer", "operate", ["generic"])
    client = create_app(replace(settings, api_keys=(key,)), job_types).test_client()
    headers = {"Authorization": f"Bearer {secret}"}
    answer = client.post("/bulk?action=delete&q=tag:customer:1&dry_run=true", headers=headers).get_json()
    assert set(answer["examples"]) == {tasks["done"], tasks["waiting"]}
    client.post("/bulk?action=delete&q=tag:customer:1", headers=headers)
    work()
    assert queue.get(tasks["failed"]).status == "failed"
    assert client.get("/bulk", headers=headers).status_code == 403  # the list is about all types
