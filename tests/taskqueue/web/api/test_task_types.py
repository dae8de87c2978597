"""`/task-types`: the task types, described by their functions."""

from flask.testing import FlaskClient

from tests.taskqueue.web.conftest import problem


def test_a_task_type_is_described_from_its_function(client: FlaskClient) -> None:
    week = client.get("/task-types/week").get_json()
    assert week["description"] == "The week that begins with a day."
    assert (week["queue"], week["attempts"], week["timeout"]) == ("low", 3, 180)
    assert week["payload_schema"]["required"] == ["of"]
    assert week["payload_schema"]["properties"]["of"]["format"] == "date"
    assert week["result_schema"]["properties"]["first"]["format"] == "date"


def test_all_task_types_are_listed_by_name(client: FlaskClient) -> None:
    names = [task_type["name"] for task_type in client.get("/task-types").get_json()["task_types"]]
    assert {"generic", "week", "flaky"} <= set(names)
    assert names == sorted(names)


def test_an_unknown_task_type_is_a_404(client: FlaskClient) -> None:
    assert "generic" in problem(client.get("/task-types/emial"), 404)["known"]


def test_its_limits_are_told(client: FlaskClient) -> None:
    answer = [
        client.get(f"/task-types/{name}").get_json() for name in ("two-at-a-time", "three-a-second", "generic")
    ]
    assert [(one["concurrency"], one["rate"]) for one in answer] == [(2, None), (None, "3/second"), (None, None)]
