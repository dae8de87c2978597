"""The search, and the page of a task: what they show, and what their buttons do."""

import re
from collections.abc import Callable
from html import unescape
from urllib.parse import unquote

from flask.testing import FlaskClient
from redis import Redis

from taskqueue.enqueue.options import SubmitOptions
from taskqueue.enqueue.queue import TaskQueue
from tests.taskqueue.web.console.conftest import SignIn, group_of, page

Work = Callable[..., str]
ATTACK = "\"'><img src=x onerror=alert(1)><script>alert(1)</script>"


def changes(client: FlaskClient) -> list[tuple[str, str]]:
    return [(each["what"], each["via"]) for each in client.get("/changes").get_json()["changes"]]


def test_a_search_in_the_address_finds_tasks(client: FlaskClient, queue: TaskQueue) -> None:
    one = queue.submit("generic", {}, SubmitOptions(tags=("customer:4711",))).id
    other = queue.submit("generic", {}).id
    found = page(client, "/console/tasks?q=tag:customer:4711").text
    assert one in found
    assert other not in found
    assert 'value="tag:customer:4711"' in found


def test_a_search_that_cannot_be_read_says_what_would_fit(client: FlaskClient) -> None:
    refused = page(client, "/console/tasks?q=status:faild")
    assert refused.status == 422
    assert "the statuses are queued" in refused.text


def test_a_row_says_why_its_task_waits(client: FlaskClient, queue: TaskQueue) -> None:
    queue.submit("generic", {})
    assert "No worker takes tasks from the queue &#39;default&#39;." in page(client, "/console/tasks").text
    client.post("/queues/default/pause")
    assert "The queue &#39;default&#39; is paused." in page(client, "/console/tasks").text


def test_pages_go_on_where_the_last_one_ended(client: FlaskClient, queue: TaskQueue) -> None:
    ids = [queue.submit("generic", {}).id for _ in range(60)]
    first = page(client, "/console/tasks").text
    (address,) = re.findall(r'href="(/console/tasks\?[^"]*cursor=[^"]*)"', first)
    second = page(client, unescape(address)).text
    shown = re.findall(r'name="id" value="([^"]+)"', first) + re.findall(r'name="id" value="([^"]+)"', second)
    assert shown == ids[::-1]


def test_chosen_tasks_are_canceled_sent_again_and_deleted(
    client: FlaskClient, queue: TaskQueue, redis: Redis
) -> None:
    ids = [queue.submit("generic", {}).id for _ in range(3)]
    for action, status in (("cancel", "canceled"), ("requeue", "queued")):
        listed = page(client, "/console/tasks")
        client.post("/console/tasks/chosen", data={"form_token": listed.token, "action": action, "id": ids[:2]})
        assert [queue.get(task_id).status for task_id in ids] == [status, status, "queued"]
    client.post(
        "/console/tasks/chosen",
        data={"form_token": page(client, "/console/tasks").token, "action": "delete", "id": ids[:2]},
    )
    assert [client.get(f"/tasks/{task_id}").status_code for task_id in ids] == [404, 404, 200]
    assert changes(client) == [
        ("tasks-deleted", "console"),
        ("tasks-sent-again", "console"),
        ("tasks-canceled", "console"),
    ]


def test_a_task_shows_all_that_is_known(client: FlaskClient, queue: TaskQueue, work: Work) -> None:
    parent = queue.submit("hopeless", {}, SubmitOptions(tags=("blue",)))
    child = queue.submit("generic", {}, SubmitOptions(depends_on=(parent.id,)))
    work()
    text = page(client, f"/console/tasks/{parent.id}").text
    for words in (
        "failed",
        "attempt 1 of",
        "Traceback",
        "tag:blue",
        child.id[:8],
        "Send again",
        "These wait for it",
    ):
        assert words in unquote(text), words
    assert "It waits for" in page(client, f"/console/tasks/{child.id}").text


def test_a_secret_is_masked(client: FlaskClient, queue: TaskQueue) -> None:
    task = queue.submit("login", {"user": "ada", "password": "hunter2"})
    for path in (f"/console/tasks/{task.id}", f"/console/submit/login?from={task.id}", "/console/tasks"):
        text = page(client, path).text
        assert "hunter2" not in text
    assert 'type="password"' in page(client, "/console/submit/login").text


def test_a_task_is_canceled_and_sent_again_and_deleted_only_when_sure(
    client: FlaskClient, queue: TaskQueue
) -> None:
    task = queue.submit("generic", {})
    shown = page(client, f"/console/tasks/{task.id}")
    assert (
        "It is canceled" in shown.post(f"/console/tasks/{task.id}/cancel", back=f"/console/tasks/{task.id}").text
    )
    assert queue.get(task.id).status == "canceled"
    shown.post(f"/console/tasks/{task.id}/requeue")
    assert queue.get(task.id).status == "queued"
    asked = shown.post(f"/console/tasks/{task.id}/delete")
    assert "It cannot be taken back" in asked.text
    assert queue.get(task.id).status == "queued"
    asked.post(f"/console/tasks/{task.id}/delete", sure="yes")
    assert client.get(f"/tasks/{task.id}").status_code == 404
    assert page(client, f"/console/tasks/{task.id}").status == 404


def test_a_task_of_another_type_does_not_exist_for_a_limited_key(sign_in: SignIn, queue: TaskQueue) -> None:
    other = queue.submit("generic", {})
    own = queue.submit("email", {"to": "ada@example.com", "subject": "Hello"})
    client = sign_in("mailer")
    listed = page(client, "/console/tasks")
    assert own.id in listed.text
    assert other.id not in listed.text
    for path in (
        f"/console/tasks/{other.id}",
        f"/console/tasks/{other.id}/events",
        "/console/submit/generic",
        f"/console/submit/email?from={other.id}",
    ):
        assert client.get(path).status_code == 404, path
    for action in ("cancel", "requeue", "delete"):
        assert listed.post(f"/console/tasks/{other.id}/{action}", sure="yes").status == 404
    client.post(
        "/console/tasks/chosen", data={"form_token": listed.token, "action": "delete", "id": [other.id, own.id]}
    )
    assert queue.get(other.id).status == "queued"


def test_who_may_only_look_cannot_act(sign_in: SignIn, queue: TaskQueue, work: Work) -> None:
    task = queue.submit("hopeless", {})
    work()
    reader = sign_in("reader")
    shown = page(reader, f"/console/tasks/{task.id}")
    assert "Send again</button>" not in shown.text
    for address in (
        f"/console/tasks/{task.id}/requeue",
        "/console/tasks/chosen",
        "/console/bulk/new",
        "/console/submit/generic",
    ):
        assert shown.post(address, action="requeue", id=task.id, q="type:hopeless").status == 403, address
    assert page(reader, "/console/bulk/new?action=requeue&q=type:hopeless").status == 403
    assert page(reader, "/console/submit").status == 403
    assert queue.get(task.id).status == "failed"


def test_what_jobs_write_is_shown_as_text(client: FlaskClient, queue: TaskQueue, redis: Redis) -> None:
    task = queue.submit("generic", {ATTACK: ATTACK}, SubmitOptions(tags=("x",)))
    progress = '{"done": 1, "total": 2, "message": "<img src=x>", "at": "x"}'
    written = {"status": "failed", "ended_at": "2026-11-25T10:00:00.000000Z", "tq:progress": progress}
    written |= {
        "tq:failure": f"3f0a1c9b7d52 {ATTACK}",
        **dict.fromkeys(("tq:tags", "worker_name", "description"), ATTACK),
    }
    redis.hset(f"rq:job:{task.id}", mapping=written)
    redis.lrem("rq:queue:default", 0, task.id)
    redis.zadd("rq:failed:default", {task.id: 2_000_000_000})
    redis.xadd(f"tq:logs:{task.id}", {"attempt": 1, "at": "1", "level": ATTACK, "line": ATTACK})
    bulk = "/console/bulk/new?action=requeue&q=status:failed"
    for path in (
        "/console/tasks",
        f"/console/tasks/{task.id}",
        "/console/failures",
        bulk,
        f"/console/submit/generic?from={task.id}",
        f"/console/tasks?q={ATTACK}",
    ):
        text = page(client, path).text
        assert "<img src=x" not in text, path
        assert "<script>alert" not in text, path


def test_the_events_of_a_task_say_when_to_look_again(client: FlaskClient, queue: TaskQueue) -> None:
    task = queue.submit("generic", {})
    client.post(f"/tasks/{task.id}/cancel")
    answer = client.get(f"/console/tasks/{task.id}/events")
    assert answer.mimetype == "text/event-stream"
    assert "event: status" in answer.text
    assert answer.text.endswith("event: end\ndata: -\n\n")


def test_an_error_is_shown_without_its_module_and_its_type(
    client: FlaskClient, failed: list[str], redis: Redis
) -> None:
    group = group_of(redis, failed[0])
    kept = (redis.hget(f"rq:job:{failed[0]}", "tq:failure") or b"").decode()
    assert "hopeless taskqueue.errors.PermanentFailure " in kept
    for address in ("tasks", "failures", f"bulk/new?action=requeue&q=group:{group}"):
        text = page(client, f"/console/{address}").text
        assert "PermanentFailure: " in text
        assert "taskqueue.errors" not in text


def test_the_place_of_a_task_is_said_once(client: FlaskClient, queue: TaskQueue, redis: Redis) -> None:
    queue.submit("generic", {})
    redis.sadd("rq:workers:default", "rq:worker:w")
    redis.hset(
        "rq:worker:w",
        mapping={
            "birth": "2026-11-25T00:00:00.000000Z",
            "queues": "default",
            "pid": 7,
            "last_heartbeat": "2026-11-25T10:00:00.000000Z",
            "state": "idle",
            "tq:horses": 1,
        },
    )
    redis.sadd("rq:workers", "rq:worker:w")
    text = page(client, f"/console/tasks/{queue.submit('generic', {}).id}").text
    assert text.count("ahead of it") == 1
    client.post("/queues/default/pause")
    text = page(client, f"/console/tasks/{queue.submit('generic', {}).id}").text
    assert text.count("ahead of it") == 1  # the reason does not say it


def test_every_run_took_more_than_no_time(client: FlaskClient, failed: list[str]) -> None:
    assert failed[0][:8] in page(client, "/console/tasks?q=ran:>0s").text
    assert failed[0][:8] not in page(client, "/console/tasks?q=ran:>9h").text


def test_a_task_that_completes_at_last_shows_no_error(
    client: FlaskClient, failed: list[str], redis: Redis
) -> None:
    assert "PermanentFailure: " in page(client, f"/console/tasks?q=id:{failed[0]}").text
    redis.hset(f"rq:job:{failed[0]}", "status", "finished")  # as after another run; its old failure stays
    assert "PermanentFailure" not in page(client, f"/console/tasks?q=id:{failed[0]}").text
