"""The commands `submit-many`, `batches` and `parents`, over Redis and over HTTP."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.taskqueue.cli.stage import Run, json_of
from tests.taskqueue.cli.test_refusals import error_line

TASKS = [{"task_type": "double", "payload": {"number": number}, "tags": ["many"]} for number in (1, 2, 3)]


@pytest.mark.parametrize("as_lines", [False, True])
def test_many_tasks_are_queued_together_and_followed(
    run: Run, work: Callable[..., str], tmp_path: Path, as_lines: bool
) -> None:
    file = tmp_path / "tasks"
    file.write_text("\n".join(map(json.dumps, TASKS)) + "\n\n" if as_lines else json.dumps(TASKS))
    sent = json_of(run("--json", "submit-many", str(file), "--then", '{"task_type": "generic"}'))
    assert (sent["queued"], sent["refused"]) == (3, 0)
    (listed,) = json_of(run("--json", "batches"))
    assert (listed["id"], listed["ended"], listed["on_complete"]) == (sent["batch"], 0, sent["on_complete"])
    work()
    assert json_of(run("--json", "batches", sent["batch"]))["counts"]["complete"] == 3
    names, values = (line.split() for line in run("batches", sent["batch"]).out.splitlines())
    assert dict(zip(names[3:5], values[3:5], strict=True)) == {"total": "3", "ended": "3"}
    parents = json_of(run("--json", "parents", sent["on_complete"]))
    assert [each["result"] for each in parents] == [2, 4, 6]
    assert [each["id"] for each in parents] == [each["id"] for each in sent["results"]]
    assert f"{parents[0]['id']}  double  complete  2" in run("parents", sent["on_complete"]).out


def test_a_wrong_task_keeps_the_others_back_unless_told_otherwise(run: Run) -> None:
    tasks = json.dumps([*TASKS, {"task_type": "double", "payload": {"number": "many"}}])
    assert "/3/payload/number" in error_line(run, "submit-many", "-", stdin=tasks)
    assert run("batches").out == "There are no batches.\n"
    partial = run("submit-many", "-", "--partial", stdin=tasks)
    assert partial.code == 1
    first, refused = partial.out.splitlines()
    assert first.endswith(": 3 tasks are queued.")
    assert refused.startswith("refused /3/payload/number: ")
    row = json.loads(run("--json", "submit-many", "-", "--partial", stdin=tasks).out)
    assert ["id" in each for each in row["results"]] == [True, True, True, False]
    assert row["results"][3]["errors"][0]["pointer"] == "/payload/number"


def test_a_key_makes_one_batch(run: Run) -> None:
    command = ("--json", "submit-many", "-", "--idempotency-key", "import-4711")
    first, again = (json_of(run(*command, stdin=json.dumps(TASKS))) for _ in range(2))
    assert first == again


@pytest.mark.parametrize(
    ("arguments", "stdin", "message"),
    [
        (("submit-many", "nope.json"), "", "The file 'nope.json' cannot be read: No such file"),
        (("submit-many", "-"), '{"task_type": "generic"}\n{', "Line 2 is not JSON"),
        (("submit-many", "-"), "[1", "The list of tasks is not JSON"),
        (("submit-many", "-"), "", "There are no tasks in it"),
        (("submit-many", "-"), '{"task_type": "nope"}', "/0/task_type"),
        (("submit-many", "-", "--then", '{"task_type": "nope"}'), '{"task_type": "generic"}', "'nope'"),
        (("batches", "nope"), "", "There is no batch 'nope'"),
        (("parents", "nope"), "", "There is no task 'nope'"),
    ],
)
def test_what_cannot_be_done(run: Run, arguments: tuple[str, ...], stdin: str, message: str) -> None:
    assert message in error_line(run, *arguments, stdin=stdin)
