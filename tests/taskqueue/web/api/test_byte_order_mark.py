"""A UTF-8 byte order mark before JSON is ignored wherever JSON is read (RFC 8259, 8.1)."""

import pytest
from flask.testing import FlaskClient

from tests.taskqueue.web.conftest import problem

MARK = b"\xef\xbb\xbf"


@pytest.mark.parametrize(
    ("method", "address", "body", "content_type", "status"),
    [
        ("POST", "/tasks?task_type=generic", b'{"a": 1}', "application/json", 202),
        ("POST", "/tasks?task_type=generic", b'{"a": 1}', "application/vnd.shop+json; charset=utf-8", 202),
        ("POST", "/tasks/bulk", b'[{"task_type": "generic"}]', "application/json", 202),
        (
            "POST",
            "/tasks/bulk",
            b'{"task_type": "generic"}\n{"task_type": "generic"}',
            "application/x-ndjson",
            202,
        ),
        ("PUT", "/schedules/x", b'{"task_type": "generic", "interval": 60}', "application/json", 201),
    ],
)
def test_json_may_begin_with_it(
    client: FlaskClient, method: str, address: str, body: bytes, content_type: str, status: int
) -> None:
    answer = client.open(address, method=method, data=MARK + body, content_type=content_type)
    assert answer.status_code == status, answer.get_data(as_text=True)


@pytest.mark.parametrize("body", [MARK, MARK + MARK + b"{}", b"{}" + MARK, "\ufeff{}".encode("utf-16")])
def test_nothing_else_is_ignored(client: FlaskClient, body: bytes) -> None:
    answer = client.post("/tasks?task_type=generic", data=body, content_type="application/json")
    assert problem(answer, 400)["type"] == "urn:problem:invalid-json"
