"""What the command line knows besides single tasks: searches, failures, bulk, pauses, schedules, changes."""

import json
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from redis import Redis

from taskqueue.enqueue.options import SubmitOptions
from taskqueue.enqueue.queue import TaskQueue
from taskqueue.telemetry.changes import person
from tests.taskqueue.cli.stage import KEY, SECRET, Done, Run, json_of
from tests.taskqueue.cli.test_refusals import error_line


def in_one_minute(ask: Callable[[], tuple[Done, Done]]) -> tuple[Done, Done]:
    """Return the answer; ask again if a minute has begun meanwhile, with which a series moves on."""
    while True:
        minute = time.time() // 60
        answer = ask()
        if time.time() // 60 == minute:
            return answer


def test_submit_has_all_options_of_http(run: Run, redis: Redis) -> None:
    parent = json_of(run("--json", "submit", "generic"))["id"]
    options = "--queue low --priority front --attempts 7 --timeout 9 --expires-in 7200 --tags a,b --dedupe one"
    first = json_of(run("--json", "submit", "generic", *options.split(), "--at", "2026-12-24T18:00:00+01:00"))
    assert (first["status"], first["queue"], first["attempts"]) == ("scheduled", "low", 7)
    assert (first["scheduled_for"], first["tags"]) == ("2026-12-24T17:00:00.000Z", ["a", "b"])
    again = json_of(run("--json", "submit", "generic", "--dedupe", "one"))
    assert again["id"] == first["id"]
    assert "duplicate" in [warning["code"] for warning in again["warnings"]]
    after = json_of(run("--json", "submit", "generic", "--depends-on", f"{parent},{parent}", "--allow-failure"))
    assert (after["status"], after["depends_on"]) == ("deferred", [parent])
    called = json_of(run("--json", "submit", "generic", "--callback-url", "https://example.com/done"))
    assert redis.hget(f"rq:job:{called['id']}", "tq:callback_url") == b"https://example.com/done"


def test_an_idempotency_key_makes_one_task(run: Run) -> None:
    submit = ("--json", "submit", "generic", '{"a": 1}', "--idempotency-key", "order-4711")
    assert json_of(run(*submit))["id"] == json_of(run(*submit))["id"]
    other = error_line(run, "submit", "generic", "--idempotency-key", "order-4711")
    assert "This Idempotency-Key was sent before" in other
    with pytest.raises(SystemExit, match="2"):
        run("submit", "generic", "--idempotency-key", "two\nlines")


def test_submit_waits_for_the_end(run: Run, worker: Callable[[], object]) -> None:
    worker()
    done = run("--json", "submit", "double", '{"number": 4}', "--wait", "20")
    assert json_of(done)["result"] == 8
    late = run("--json", "submit", "double", '{"number": 4}', "--delay", "60", "--wait", "0.2")
    assert (late.code, json.loads(late.out)["status"]) == (1, "scheduled")


def test_tasks_are_found_by_words(run: Run, queue: TaskQueue) -> None:
    tasks = [queue.submit("generic", {}, SubmitOptions(tags=("customer:7",))) for _ in range(3)]
    queue.submit("generic", {})
    rows = json_of(run("--json", "list", "type:generic", "tag:customer:7"))
    assert [row["id"] for row in rows] == [task.id for task in reversed(tasks)]
    assert len(json_of(run("--json", "list", "--limit", "2"))) == 2
    shown = run("list", "tag:customer:7").out.splitlines()
    assert shown[0].split() == ["id", "type", "status", "queue", "created_at", "attempt", "tags", "failure"]
    assert shown[1].startswith(f"{tasks[2].id}  generic  queued  default  20")
    assert run("list", "tag:nobody").out == "There are no such tasks.\n"
    assert "'nonsense' is no qualifier and no id." in error_line(run, "list", "nonsense")


def test_both_ways_print_the_same(
    here: Run, api: str, env: pytest.MonkeyPatch, queue: TaskQueue, work: Callable[..., str]
) -> None:
    env.setenv("TASK_QUEUE_KEY", SECRET)
    failed, waiting = queue.submit("hopeless", {}), queue.submit("talkative", {})
    work()
    scheduled = queue.submit("generic", {}, SubmitOptions(delay=3600))
    here("schedules", "put", "nightly", "double", '{"number": 1}', "--cron", "30 2 * * *")
    here("pause", "low")
    for command in (
        ("list",),
        ("failures",),
        ("explain", failed.id),
        ("explain", scheduled.id),
        ("logs", waiting.id),
        ("logs", waiting.id, "--attempt", "2"),
        ("schedules",),
        ("queues",),
        ("changes",),
        ("get", failed.id),
        ("bulk", "requeue", "status:failed", "--dry-run"),
        ("bulk", "list"),
        ("types",),
        ("types", "double"),
        ("schedules", "show", "nightly"),
        ("series",),
        ("series", "--by", "task_type", "--queue", "default", "--span", "day"),
        ("series", "--type", "talkative"),
        ("batches",),
        ("parents", scheduled.id),
    ):
        for form in ((), ("--json",)):
            over_redis, over_http = in_one_minute(
                lambda words=(*form, *command): (here(*words), here("--url", api, *words))
            )
            assert over_http == over_redis, command
            assert over_redis.code == 0


def test_failures_are_grouped_and_requeued_together(run: Run, work: Callable[..., str]) -> None:
    ids = {json_of(run("--json", "submit", "hopeless"))["id"] for _ in range(3)}
    work()
    (group,) = json_of(run("--json", "failures"))["failures"]
    assert (group["type"], group["count"]) == ("hopeless", 3)
    assert "PermanentFailure the page is gone" in run("failures").out
    search = f"group:{group['group']}"
    dry = run("bulk", "requeue", search, "--dry-run")
    assert dry.out.startswith("3 tasks match.\n  ")
    assert set(dry.out.split()[3:]) == ids
    assert "More than 2 tasks match" in error_line(run, "bulk", "requeue", search, "--max", "2")
    task = json_of(run("--json", "bulk", "requeue", search, "--rate", "100"))
    assert (task["type"], task["payload"]["most"]) == ("tq-bulk", 3)
    work()
    assert json_of(run("--json", "get", task["id"]))["result"] == {"changed": 3, "skipped": 0}
    (action,) = json_of(run("--json", "bulk", "list"))
    assert (action["id"], action["status"]) == (task["id"], "complete")
    assert f"requeue  {search}" in run("bulk", "list").out
    assert run("bulk", "cancel", "tag:nobody").out == "0 tasks match.\n"
    assert "Say which tasks" in error_line(run, "bulk", "delete", "", "--dry-run")
    assert "Say which tasks" in error_line(run, "bulk", "delete")


def test_a_task_is_explained_logged_and_deleted(run: Run, queue: TaskQueue, work: Callable[..., str]) -> None:
    task = queue.submit("talkative", {})
    assert f"{task.id}  queued\n  No worker takes tasks" in run("explain", task.id).out
    work()
    assert run("logs", task.id).out.startswith("attempt 1\n  WARNING run 1\n  stdout  printed 1\n")
    assert run("delete", task.id).out == f"Task {task.id} is deleted.\n"
    assert "There is no task" in error_line(run, "logs", task.id)


def test_what_is_changed_is_recorded(run: Run, request: pytest.FixtureRequest) -> None:
    way = request.node.callspec.params["run"]
    who, via = (person(), "command line") if way == "here" else (KEY.name, "http")
    task = json_of(run("--json", "submit", "generic"))["id"]
    assert run("pause", "low").out == "The queue 'low' is paused.\n"
    assert json_of(run("--json", "resume", "low")) == {"name": "low", "paused": False}
    run("schedules", "put", "hourly", "generic", "--interval", "3600")
    for action in ("pause", "resume", "run", "delete"):
        assert run("schedules", action, "hourly").code == 0
    run("cancel", task)
    run("requeue", task)
    run("bulk", "cancel", "type:generic", "status:queued", "--max", "9")
    run("cancel", task)
    run("delete", task)
    rows = json_of(run("--json", "changes"))
    assert {(row["who"], row["via"]) for row in rows} == {(who, via)}
    assert [(row["what"], row["target"]) for row in reversed(rows)] == [
        ("queue-paused", "low"),
        ("queue-resumed", "low"),
        ("schedule-stored", "hourly"),
        ("schedule-paused", "hourly"),
        ("schedule-resumed", "hourly"),
        ("schedule-run", "hourly"),
        ("schedule-deleted", "hourly"),
        ("task-canceled", task),
        ("task-requeued", task),
        ("bulk-action", ""),
        ("task-canceled", task),
        ("task-deleted", task),
    ]
    assert rows[2]["detail"] == "action=cancel&q=type%3Ageneric+status%3Aqueued&max=9"


def test_task_types_and_what_happened_are_shown(run: Run, queue: TaskQueue) -> None:
    rows = json_of(run("--json", "types"))
    assert {"double", "generic"} <= {row["name"] for row in rows}
    assert run("types").out.splitlines()[0].split() == [
        *("name", "queue", "attempts", "timeout", "concurrency", "rate", "description")
    ]
    assert json_of(run("--json", "types", "double"))["payload_schema"]["required"] == ["number"]
    assert run("types", "double").out.startswith("double\n  ")
    assert run("series").out == "Nothing has happened.\n"
    queue.submit("generic", {})
    names, values = (line.split() for line in run("series", "--by", "queue").out.splitlines())
    assert names[:3] == ["at", "queue", "submitted"]
    assert values[1:3] == ["default", "1"]
    assert json_of(run("--json", "series", "--span", "week"))["step_seconds"] == 3600


def test_schedules_come_from_options_and_from_files(run: Run, tmp_path: Path) -> None:
    assert run("schedules").out == "There are no schedules.\n"
    file = tmp_path / "nightly.json"
    file.write_text('{"task_type": "double", "payload": {"number": 1}, "cron": "30 2 * * *", "tags": ["a"]}')
    made = json_of(
        run("--json", "schedules", "put", "nightly", "--file", str(file), "--timezone", "Europe/Berlin")
    )
    assert (made["cron"], made["timezone"], made["tags"]) == ("30 2 * * *", "Europe/Berlin", ["a"])
    run(
        "schedules",
        "put",
        "often",
        "generic",
        '{"a": 1}',
        "--interval",
        "60",
        "--tags",
        "x,y",
        "--overlap",
        "queue",
    )
    often, nightly = json_of(run("--json", "schedules", "list"))[::-1]
    assert (often["payload"], often["tags"], often["overlap"]) == ({"a": 1}, ["x", "y"], "queue")
    assert nightly["name"] == "nightly"
    assert json_of(run("--json", "schedules", "show", "nightly"))["cron"] == "30 2 * * *"
    assert ["timezone", "Europe/Berlin"] in [
        line.split() for line in run("schedules", "show", "nightly").out.splitlines()
    ]
    lines = run("schedules").out.splitlines()
    assert lines[0].split() == ["name", "task_type", "when", "next_run", "last_run", "runs", "error"]
    assert "30 2 * * * Europe/Berlin" in lines[1]
    assert "paused" in run("schedules", "pause", "often").out
    assert json_of(run("--json", "schedules", "run", "often"))["tags"] == ["x", "y", "schedule:often"]
    assert run("schedules", "delete", "often").out == "The schedule 'often' is deleted.\n"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("pause", "nope"), "There is no queue 'nope'. Known: high, default, low.\n"),
        (("schedules", "run", "nope"), "There is no schedule 'nope'.\n"),
        (("schedules", "delete", "nope"), "There is no schedule 'nope'.\n"),
        (("schedules", "put", "a", "generic"), "the schedule: Give either interval (seconds) or cron\n"),
        (
            ("schedules", "put", "a", "double", "--interval", "5"),
            "The payload does not fit 'double': /payload/number",
        ),
        (("schedules", "put", "a", "generic", "--cron", "daily"), "/cron: A cron expression has five fields"),
        (("schedules", "put", "a", "--file", "nope.json"), "The file 'nope.json' cannot be read: No such file"),
        (("submit", "generic", "--delay", "soon"), "delay: Input should be a valid number"),
        (("submit", "generic", "--depends-on", "nope"), "depends_on: there is no task 'nope'"),
        (("delete", "nope"), "There is no task 'nope'."),
        (("schedules", "show", "nope"), "There is no schedule 'nope'.\n"),
        (("types", "nope"), "nope"),
        (("series", "--type", "nope"), "nope"),
        (("explain", "nope"), "There is no task 'nope'."),
    ],
)
def test_what_cannot_be_done(run: Run, arguments: tuple[str, ...], message: str) -> None:
    assert message in error_line(run, *arguments)


def test_each_command_has_help_with_an_example(here: Run, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="0"):
        here("--help")
    overview = capsys.readouterr().out
    names = [line.split()[0] for line in overview.splitlines() if line.startswith("    ") and line[4] != " "]
    assert {"submit", "list", "failures", "explain", "logs", "bulk", "pause", "schedules", "changes"} <= set(names)
    assert {"submit-many", "batches", "parents", "series", "types", "files"} <= set(names)
    actions = (("schedules", "put"), ("schedules", "run"), ("files", "upload"), ("files", "download"))
    for command in (*[(name,) for name in names], *actions):
        with pytest.raises(SystemExit, match="0"):
            here(*command, "--help")
        text = capsys.readouterr().out
        assert "python -m taskqueue" in text.partition("\nexample")[2], command
        assert "--json" in text


def test_a_task_type_is_paused_and_resumed(run: Run, redis: Redis) -> None:
    assert run("pause", "--type", "generic").out == "The task type 'generic' is paused.\n"
    assert redis.sismember("tq:paused", "type:generic")
    assert run("resume", "--type", "generic").out == "The task type 'generic' is resumed.\n"
    assert not redis.exists("tq:paused")
    assert "no task type 'nothing'" in run("pause", "--type", "nothing").err
    with pytest.raises(SystemExit, match="2"):
        run("pause")


def test_limits_are_changed_and_set_back(run: Run) -> None:
    changed = json.loads(run("--json", "limits", "generic", "--concurrency", "2", "--rate", "10/minute").out)
    assert [(row["concurrency"], row["rate"]) for row in changed] == [(2, "10/minute")]
    assert "10/minute" in run("limits").out
    (row,) = json.loads(run("--json", "limits", "generic", "--reset").out)
    assert (row["concurrency"], row["changed_at"]) == (None, None)
    assert run("limits", "generic").code == 2
    assert "rate must be" in run("limits", "generic", "--rate", "often").err
