"""The pages of the whole: what each shows, what its buttons do, and what happens without Redis."""

import json
import re
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from flask.testing import FlaskClient
from redis import Redis

from taskqueue.enqueue.queue import TaskQueue
from taskqueue.jobtypes.registry import JobTypes
from taskqueue.settings import Settings
from taskqueue.store.keys import ROLLED_UP
from taskqueue.telemetry.series import add_to_minute
from tests.conftest import RedisServer
from tests.taskqueue.web.console.conftest import page
from web import create_app

PATHS = (
    "/console/",
    "/console/?span=day",
    "/console/queues",
    "/console/workers",
    "/console/schedules",
    "/console/changes",
)
ATTACK = "\"'><img src=x onerror=alert(1)><script>alert(1)</script>{{7*7}}"


def test_the_verdict_comes_first(client: FlaskClient) -> None:
    text = page(client, "/console/").text
    assert re.search(r"\d things are wrong", text)
    assert "Start one: python -m taskqueue worker" in text
    assert text.index("wrong") < text.index("The last hour")


def test_now_counts_what_happened(client: FlaskClient, redis: Redis) -> None:
    add_to_minute(
        redis,
        {
            "email:high:finished": 1203,
            "email:high:failed": 7,
            "email:high:begun": 1210,
            "email:high:wait_ms": 12_100,
        },
    )
    text = page(client, "/console/").text
    assert "1,203" in text
    assert "10 ms" in text
    assert '<rect class="failed"' in text


def test_a_queue_says_why_it_waits(client: FlaskClient, queue: TaskQueue) -> None:
    queue.submit("generic", {})
    text = page(client, "/console/queues").text
    assert "No worker takes tasks from the queue &#39;default&#39;." in text
    paused = page(client, "/console/queues").post("/console/queues/default/pause", back="/console/queues")
    assert "The queue default is paused" in paused.text
    assert "The queue &#39;default&#39; is paused." in paused.text


def test_an_outbox_shows_what_waits_and_that_nobody_relays_it(client: FlaskClient, redis: Redis) -> None:
    assert "Outbox" not in page(client, "/console/queues").text
    now = datetime.now(UTC).timestamp()
    report = {"table": "app.outbox", "waiting": 1203, "oldest": now - 7300, "set_aside": 0, "error": ""}
    redis.hset("tq:outboxes", "db/shop:app.outbox", json.dumps(report | {"at": now - 60, "moved_at": now - 8000}))
    text = page(client, "/console/queues").text
    assert "Outbox <code>db/shop:app.outbox</code>" in text
    assert "No worker relays this outbox: what is submitted to it does not run." in text
    assert "<dd>1,203</dd>" in text
    assert "<dd>2 h 1 min</dd>" in text
    assert re.search(r"Last moved a task</dt><dd><time [^>]*>2 h ago", text)
    redis.set("tq:outbox:relay:db/shop:app.outbox", "token", ex=60)
    assert "<dt>Relay</dt><dd>active</dd>" in page(client, "/console/queues").text


def test_a_pause_can_be_taken_back_where_it_is_told(client: FlaskClient, redis: Redis) -> None:
    paused = page(client, "/console/queues").post("/console/queues/low/pause", back="/console/queues")
    (undo,) = re.findall(r'action="([^"]*)"><input[^>]*>\s*<input[^>]*><button class="quiet">Undo', paused.text)
    assert undo == "/console/queues/low/resume"
    paused.post(undo)
    assert redis.smembers("tq:paused") == set()
    assert "is paused: no task" not in page(client, "/console/queues").text  # a notice is shown once


def test_changes_name_who_did_what(client: FlaskClient) -> None:
    page(client, "/console/queues").post("/console/queues/low/pause")
    text = page(client, "/console/changes").text
    assert "queue paused" in text
    assert "anybody" in text
    assert "console" in text


def test_a_schedule_is_made_run_paused_changed_and_deleted(
    client: FlaskClient, redis: Redis, queue: TaskQueue
) -> None:
    form = page(client, "/console/schedules/new/edit")
    document = {"task_type": "generic", "payload": {"a": 1}, "cron": "30 2 * * 1-5", "timezone": "Europe/Berlin"}
    made = form.post("/console/schedules/new/edit", name="nightly", document=json.dumps(document))
    assert "Monday to Friday at 02:30 Europe/Berlin" in made.text
    made.post("/console/schedules/nightly/run", back="/console/schedules")
    (task_id,) = redis.lrange("rq:queue:default", 0, -1)
    assert queue.get(task_id.decode()).tags == ("schedule:nightly",)
    listed = page(client, "/console/schedules")
    assert task_id.decode() in listed.text
    assert "queued" in listed.text
    assert "paused" in listed.post("/console/schedules/nightly/pause", back="/console/schedules").text
    changed = listed.post(
        "/console/schedules/nightly/edit", document=json.dumps(document | {"cron": "*/5 * * * *"})
    )
    assert "every 5 minutes" in changed.text
    asked = changed.post("/console/schedules/nightly/delete")
    assert "Delete the schedule nightly?" in asked.text
    assert "is deleted" in asked.post("/console/schedules/nightly/delete", sure="yes").text
    whats = [each["what"] for each in client.get("/changes").get_json()["changes"]]
    assert whats == ["schedule-deleted", "schedule-stored", "schedule-paused", "schedule-run", "schedule-stored"]


@pytest.mark.parametrize(
    ("document", "words"),
    [
        ("{", "This is not JSON: line 1"),
        ('{"task_type": "generic"}', "Give either interval"),
        ('{"task_type": "no-such", "interval": 60}', "no-such"),
        ('{"task_type": "email", "payload": {}, "interval": 60}', "/payload/to"),
        ('{"task_type": "generic", "cron": "99 * * * *"}', "cron"),
    ],
)
def test_a_wrong_schedule_is_refused_in_words_and_kept_in_the_form(
    client: FlaskClient, document: str, words: str
) -> None:
    refused = page(client, "/console/schedules/new/edit").post(
        "/console/schedules/new/edit", name="x", document=document
    )
    assert refused.status == 422
    assert words in refused.text
    assert json.dumps(document)[1:4].strip('"\\') in refused.text
    assert client.get("/schedules").get_json() == {"schedules": []}


def test_what_others_write_is_shown_as_text(client: FlaskClient, redis: Redis) -> None:
    redis.xadd("tq:changes", dict.fromkeys(("who", "via", "what", "target", "detail", "request_id"), ATTACK))
    minute = int(datetime.now(UTC).timestamp()) // 60
    redis.hset(f"tq:minute:{minute}", f"{ATTACK.replace(':', '')}:high:finished", 3)
    report = {"table": ATTACK, "waiting": 1, "oldest": 1e300, "set_aside": 1, "error": ATTACK, "at": 1e300}
    redis.hset("tq:outboxes", ATTACK, json.dumps(report))
    redis.sadd("rq:workers", "rq:worker:" + ATTACK)
    redis.hset(
        "rq:worker:" + ATTACK,
        mapping={"birth": "x", "hostname": ATTACK, "state": ATTACK, "queues": ATTACK, "tq:release": ATTACK},
    )
    redis.expire("rq:worker:" + ATTACK, 100)
    for path in PATHS:
        answer = page(client, path)
        assert answer.status == 200, path
        assert "<img src=x" not in answer.text
        assert "<script>alert" not in answer.text
        assert "49" not in re.findall(r"alert\(1\)&lt;/script&gt;(\w*)", answer.text)


def test_a_notice_that_somebody_wrote_leads_nowhere(client: FlaskClient) -> None:
    client.set_cookie(
        "tq_notice", "%7B%22text%22%3A%22x%22%2C%22link%22%3A%22https%3A//evil.example%22%7D", path="/console"
    )
    assert "evil.example" not in page(client, "/console/").text
    client.set_cookie("tq_notice", "rubbish", path="/console")
    assert page(client, "/console/").status == 200


@pytest.mark.parametrize("path", PATHS)
def test_without_redis_each_page_comes_says_so_and_recovers(
    path: str, settings: Settings, job_types: JobTypes, own_redis: RedisServer
) -> None:
    client = create_app(replace(settings, redis_url=own_redis.url), job_types).test_client()
    assert page(client, path).status == 200
    own_redis.stop()
    away = page(client, path)
    assert away.status == 503
    assert "Redis does not answer" in away.text
    assert re.search(r"Since <time", away.text)
    assert 'http-equiv="refresh"' in away.text
    own_redis.start()
    assert page(client, path).status == 200


def test_a_browser_is_sent_away_by_no_bad_address(client: FlaskClient) -> None:
    for path in ("/console/?span=x", "/console/changes?below=x", "/console/changes?below=%00"):
        assert page(client, path).status == 200
    for path in ("/console/x/y", "/console/schedules/nothing", "/console/static/0/console.css"):
        answer = page(client, path)
        assert (answer.status, answer.headers["Content-Type"]) == (404, "text/html; charset=utf-8")


def test_static_files_are_kept_by_browsers_and_small(client: FlaskClient) -> None:
    text = page(client, "/console/").text
    files = set(re.findall(r'(?:href|src)="(/console/static/[^"]+)"', text))
    assert len(files) == 3
    total = len(text)
    for file in files:
        with client.get(file) as answer:
            assert "immutable" in answer.headers["Cache-Control"]
            total += len(answer.data)
    assert total < 100_000


def test_a_page_asks_redis_little(client: FlaskClient, redis: Redis, queue: TaskQueue) -> None:
    for _ in range(50):
        queue.submit("generic", {})
    redis.set(ROLLED_UP, int(time.time()) // 60 - 3)  # as a worker does; else the checks read these minutes, too
    page(client, "/console/")
    before: Callable[[], int] = lambda: int(redis.info("commandstats").get("cmdstat_hgetall", {}).get("calls", 0))  # noqa: E731
    first = before()
    for _ in range(5):
        page(client, "/console/")
    assert before() - first < 5 * 20  # of the 60 minutes of the chart only those that can change


def test_a_batch_shows_its_tasks_and_each_of_them_names_it(client: FlaskClient, queue: TaskQueue) -> None:
    items = [{"task_type": "generic", "payload": {"n": n}} for n in range(60)]
    answer = client.post("/tasks/bulk", json=items).json
    assert answer
    batch, first, last = answer["batch"], answer["results"][0]["id"], answer["results"][-1]["id"]
    assert f"/console/batches/{batch}" in page(client, "/console/batches").text
    shown = page(client, f"/console/batches/{batch}").text
    assert "0 of 60 tasks have ended" in shown
    assert (first[:8] in shown, last[:8] in shown) == (True, False)
    assert last[:8] in page(client, f"/console/batches/{batch}?first=50").text
    assert f"/console/batches/{batch}" in page(client, f"/console/tasks/{last}").text
    alone = queue.submit("generic", {}).id
    assert "/console/batches/" not in page(client, f"/console/tasks/{alone}").text
    assert page(client, f"/console/batches/{'0' * 32}").status == 404


def test_what_is_paused_is_resumed_where_the_verdict_says_so(client: FlaskClient, redis: Redis) -> None:
    client.post("/queues/low/pause")
    client.post("/task-types/generic/pause")
    shown = page(client, "/console/")
    assert 'href="/console/queues#low"' in shown.text
    assert 'aria-label="Resume the type generic"' in shown.text
    shown.post("/console/types/generic/resume")
    after = shown.post("/console/queues/low/resume", back="/console/")
    assert "The queue low is resumed" in after.text
    assert "Resume the" not in after.text  # it looks again
    assert redis.smembers("tq:paused") == set()


def test_the_next_runs_of_a_schedule_have_their_dates(client: FlaskClient) -> None:
    client.put("/schedules/monthly", json={"task_type": "generic", "cron": "0 4 1 * *", "payload": {"a": 1}})
    text = page(client, "/console/schedules/monthly").text
    assert "day 1 of each month at 04:00 UTC" in text
    assert len(re.findall(r">\d{4}-\d\d-01 04:00:00</time>", text)) >= 4  # the first of them may be today
    assert "{\n  &#34;a&#34;: 1\n}" in text
