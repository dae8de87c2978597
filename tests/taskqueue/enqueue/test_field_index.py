"""Tasks that are found by fields of their payloads."""

from typing import Any

import pytest
from flask.testing import FlaskClient
from pydantic import SecretStr
from redis import Redis

from taskqueue.enqueue.options import SubmitOptions
from taskqueue.enqueue.queue import TaskQueue
from taskqueue.errors import InvalidJobType
from taskqueue.jobtypes.registry import job, registered


@pytest.fixture
def invoice() -> Any:
    @job("invoice-by-customer", index=["customer_id", "region", "token"])
    def send_invoice(customer_id: int, region: str = "eu", token: SecretStr | None = None) -> None: ...

    yield
    del registered["invoice-by-customer"]


def found(client: FlaskClient, search: str) -> list[str]:
    return [task["id"] for task in client.get("/tasks", query_string={"q": search}).get_json()["tasks"]]


def test_a_task_is_found_by_a_field(client: FlaskClient, queue: TaskQueue, invoice: None) -> None:
    options = SubmitOptions(tags=("mine",))
    one = queue.submit("invoice-by-customer", {"customer_id": 4711, "region": "us"}, options)
    other = queue.submit("invoice-by-customer", {"customer_id": 12})
    assert one.tags == ("mine", "customer_id:4711", "region:us")
    assert found(client, "tag:customer_id:4711") == [one.id]
    assert found(client, "customer_id:12") == [other.id]


def test_what_makes_no_tag_is_left_out_and_a_secret_always(queue: TaskQueue, redis: Redis, invoice: None) -> None:
    payload = {"customer_id": 1, "region": "a region with spaces", "token": "hunter2"}
    assert queue.submit("invoice-by-customer", payload).tags == ("customer_id:1",)
    assert not [key for key in redis.keys("tq:index:tag:*") if b"hunter2" in key]


def test_the_tasks_of_a_batch_are_found_too(client: FlaskClient, queue: TaskQueue, invoice: None) -> None:
    tasks = [{"task_type": "invoice-by-customer", "payload": {"customer_id": number}} for number in (1, 2, 1)]
    ids = [result["id"] for result in client.post("/tasks/bulk", json=tasks).get_json()["results"]]
    assert sorted(found(client, "tag:customer_id:1")) == sorted([ids[0], ids[2]])


@pytest.mark.parametrize("index", [["customer"], "customer_id"])
def test_an_index_names_fields(index: Any) -> None:
    with pytest.raises(InvalidJobType, match="index names fields of the payload"):

        @job("wrong-index", index=index)
        def wrong(customer_id: int) -> None: ...
