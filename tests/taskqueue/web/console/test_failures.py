"""Failures and bulk actions: prove, drain, count, undo, ignore."""

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from html import unescape

import pytest
from flask.testing import FlaskClient
from redis import Redis

from taskqueue.enqueue.queue import TaskQueue
from taskqueue.web.console import bulk
from tests.taskqueue.web.console.conftest import group_of, page

Work = Callable[..., str]
ATTACK = "\"'><img src=x onerror=alert(1)><script>alert(1)</script>"


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
    monkeypatch.setattr(bulk, "WHOLE_SECONDS", 60.0)
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
