"""Tasks, failures, bulk actions and the form to submit: what they show, and what their buttons do."""

import io
import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from html import unescape
from urllib.parse import unquote

import pytest
from flask.testing import FlaskClient
from redis import Redis

from taskqueue.enqueue.options import SubmitOptions
from taskqueue.enqueue.queue import TaskQueue
from taskqueue.web.console import bulk
from tests.taskqueue.web.console.conftest import SignIn, page

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


@pytest.fixture
def failed(queue: TaskQueue, work: Work) -> list[str]:
    tasks = [queue.submit("hopeless", {}).id for _ in range(4)]
    work()
    return tasks


def group_of(redis: Redis, task_id: str) -> str:
    return (redis.hget(f"rq:job:{task_id}", "tq:failure") or b"").decode().split()[0]


def test_failures_are_proved_with_one_then_drained(
    client: FlaskClient, failed: list[str], queue: TaskQueue, redis: Redis, work: Work
) -> None:
    group = group_of(redis, failed[0])
    groups = page(client, "/console/failures")
    assert "new" in groups.text
    proof = groups.post(f"/console/failures/{group}/prove")
    assert "The proof is on its way" in proof.text
    (proved,) = [task_id for task_id in failed if queue.get(task_id).status == "queued"]
    redis.hset(f"rq:job:{proved}", "status", "finished")  # as if it had worked this time
    drained = page(client, f"/console/tasks/{proved}?drain={group}")
    assert "it works again" in drained.text
    (address,) = re.findall(r'href="(/console/bulk/new[^"]*)"', drained.text)
    form = page(client, unescape(address))
    assert "Send again 3 tasks" in form.text
    fields = dict(re.findall(r'name="(action|q|seen_at|most)" value="([^"]*)"', form.text))
    begun = form.post("/console/bulk/new", **fields, rate="100")
    assert "begins in 8 seconds" in begun.text
    assert "begins <time" in begun.text
    (bulk,) = client.get("/bulk").get_json()["actions"]
    assert bulk["payload"] == {
        "action": "requeue",
        "q": f"group:{group}",
        "seen_at": bulk["payload"]["seen_at"],
        "most": 3,
        "rate": 100.0,
        "by": "",
    }


def test_a_form_counts_so_many_tasks_as_a_look_has_time_for_and_all_of_them_when_asked(
    client: FlaskClient, queue: TaskQueue, monkeypatch: pytest.MonkeyPatch
) -> None:
    for _ in range(600):
        queue.submit("generic", {})
    monkeypatch.setattr(bulk, "QUICK_SECONDS", 0.0)
    form = page(client, "/console/bulk/new?action=cancel&q=status:queued")
    assert "Cancel 500 or more tasks" in form.text
    assert 'name="most" value="100000"' in form.text
    (address,) = re.findall(r'href="([^"]*whole[^"]*)"', form.text)
    form = page(client, unescape(address))
    assert "Cancel 600 tasks" in form.text
    assert 'name="most" value="600"' in form.text


def test_a_bulk_action_is_undone_before_it_begins(
    client: FlaskClient, failed: list[str], queue: TaskQueue
) -> None:
    form = page(client, "/console/bulk/new?action=delete&q=type:hopeless")
    fields = dict(re.findall(r'name="(action|q|seen_at|most)" value="([^"]*)"', form.text))
    begun = form.post("/console/bulk/new", **fields)
    undo = re.findall(r'action="(/console/bulk/[^"]+/stop)"', begun.text)[0]
    assert "nothing was changed" in begun.post(undo, back="/console/bulk").text
    (bulk,) = client.get("/bulk").get_json()["actions"]
    assert bulk["status"] == "canceled"
    assert [queue.get(task_id).status for task_id in failed] == ["failed"] * 4


def test_a_bulk_action_cannot_widen(client: FlaskClient, failed: list[str], queue: TaskQueue) -> None:
    form = page(client, "/console/bulk/new?action=delete&q=type:hopeless")
    fields = dict(re.findall(r'name="(action|q|seen_at|most)" value="([^"]*)"', form.text))
    refused = form.post("/console/bulk/new", **(fields | {"most": "3"}))
    assert "more than the 3 tasks that you saw" in refused.text
    for wrong in (
        {"q": ""},
        {"action": "burn"},
        {"seen_at": "x"},
        {"most": ""},
        {"rate": "-1"},
        {"seen_at": "9" * 400},
    ):
        assert form.post("/console/bulk/new", **(fields | wrong)).status == 400
    assert client.get("/bulk").get_json() == {"actions": []}
    assert client.get("/console/bulk/new?action=delete&q=").status_code == 400


def test_a_group_is_ignored_until_a_time_or_a_release(
    client: FlaskClient, failed: list[str], redis: Redis
) -> None:
    group = group_of(redis, failed[0])
    shown = page(client, "/console/failures")
    assert "Ignored" not in shown.text
    ignored = shown.post(f"/console/failures/{group}/ignore", span="1h", back="/console/failures")
    assert "Ignored</h2>" in ignored.text
    assert "Ignored</h2>" not in ignored.post(f"/console/failures/{group}/show", back="/console/failures").text
    shown.post(f"/console/failures/{group}/ignore", span="release")
    assert "until the next release" in page(client, "/console/failures").text
    later = datetime.now(UTC) + timedelta(seconds=1)
    redis.hset("tq:releases", "v43", later.strftime("%Y-%m-%dT%H:%M:%S.%fZ"))
    assert "Ignored</h2>" not in page(client, "/console/failures").text
    assert redis.hgetall("tq:ignored") == {}


def test_a_form_submits_what_it_says(client: FlaskClient, queue: TaskQueue, redis: Redis) -> None:
    form = page(client, "/console/submit/email")
    submitted = form.post(
        "/console/submit/email",
        **{
            "field:to": '["ada@example.com", "bob@example.com"]',
            "field:subject": "Hello",
            "option:tags": "a b",
            "option:delay": "60",
        },
    )
    assert "The task is scheduled" in submitted.text
    (task,) = client.get("/tasks?type=email").get_json()["tasks"]
    assert task["tags"] == ["a", "b"]
    assert queue.get(task["id"]).payload == {"to": ["ada@example.com", "bob@example.com"], "subject": "Hello"}


def test_what_does_not_fit_is_beside_its_field_and_what_was_typed_stays(client: FlaskClient, redis: Redis) -> None:
    form = page(client, "/console/submit/email")
    refused = form.post(
        "/console/submit/email",
        **{"field:to": "nobody", "field:subject": "Hello", "field:cc": "[", "option:attempts": "0"},
    )
    assert refused.status == 422
    assert "Nothing was queued" in refused.text
    errors = re.findall(r'id="field-(\w+)-error">([^<]+)<', refused.text)
    assert "cc" in dict(errors)
    assert 'value="Hello"' in refused.text
    again = refused.post(
        "/console/submit/email", **{"field:to": "nobody", "field:subject": "Hello", "option:attempts": "0"}
    )
    assert "to" in dict(re.findall(r'id="field-(\w+)-error">([^<]+)<', again.text))
    assert redis.llen("rq:queue:high") == 0
    options = refused.post(
        "/console/submit/email", **{"field:to": "a@example.com", "field:subject": "Hello", "option:attempts": "0"}
    )
    assert "greater than or equal to 1" in options.text


def test_a_task_is_edited_and_sent_as_a_new_one(client: FlaskClient, queue: TaskQueue) -> None:
    task = queue.submit("email", {"to": ["ada@example.com"], "subject": "Hello"})
    form = page(client, f"/console/submit/email?from={task.id}").text
    assert "[&#34;ada@example.com&#34;]" in form
    assert 'value="Hello"' in form


def test_a_file_is_uploaded_with_the_form(client: FlaskClient, queue: TaskQueue) -> None:
    token = page(client, "/console/submit/resize").token
    data = {"form_token": token, "field:width": "10", "file:filename": (io.BytesIO(b"GIF89a"), "фото.gif")}
    answer = client.post("/console/submit/resize", data=data, content_type="multipart/form-data")
    assert answer.status_code == 303, answer.text
    payload = queue.get(answer.location.rpartition("/")[2]).payload
    assert isinstance(payload, dict)
    assert payload["width"] == 10
    assert client.get(f"/files/{payload['filename']}").data == b"GIF89a"


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


def test_a_nested_field_of_a_form_has_an_example(client: FlaskClient) -> None:
    assert "JSON, such as {&#34;name&#34;: &#34;text&#34;, " in page(client, "/console/submit/signup").text
