"""The form that submits a task."""

import io
import re
from collections.abc import Callable

from flask.testing import FlaskClient
from redis import Redis

from taskqueue.enqueue.queue import TaskQueue
from tests.taskqueue.web.console.conftest import page

Work = Callable[..., str]
ATTACK = "\"'><img src=x onerror=alert(1)><script>alert(1)</script>"


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


def test_a_nested_field_of_a_form_has_an_example(client: FlaskClient) -> None:
    assert "JSON, such as {&#34;name&#34;: &#34;text&#34;, " in page(client, "/console/submit/signup").text
