"""`GET /tasks` over HTTP."""

import pytest
from flask.testing import FlaskClient

from tests.taskqueue.web.conftest import problem


def test_a_page_links_to_the_next(client: FlaskClient) -> None:
    for _ in range(3):
        client.post("/tasks?task_type=generic&tags=a,b", json={})
    answer = client.get("/tasks?limit=2&tag=a&type=generic")
    body = answer.get_json()
    assert [task["tags"] for task in body["tasks"]] == [["a", "b"]] * 2
    assert answer.headers["Link"] == f'<{body["next"]}>; rel="next"'
    last = client.get(body["next"])
    assert (len(last.get_json()["tasks"]), last.get_json()["next"]) == (1, None)
    assert "Link" not in last.headers


@pytest.mark.parametrize("query", ["status=done", "limit=0", "limit=201", "cursor=x", "created_after=soon", "x=1"])
def test_a_wrong_parameter_is_named(client: FlaskClient, query: str) -> None:
    assert query.partition("=")[0] in problem(client.get(f"/tasks?{query}"), 400)["detail"]
