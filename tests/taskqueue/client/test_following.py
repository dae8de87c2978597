"""Following a task over several connections: what is received, asked for again, and waited for."""

import json
from collections.abc import Iterator

import httpx
import pytest
from httpx_sse import EventSource

from taskqueue.client.following import Deadline, Following
from taskqueue.client.records import Event
from taskqueue.errors import ApiRefused, UnknownTask

LINE = json.dumps({"id": "1-0", "attempt": 1, "at": "2026-11-25T10:00:00.000Z", "level": "INFO", "line": "grün"})
TASK = '{"id": "a", "type": "email",\ndata:  "status": "queued", "attempt": 0, "attempts": 3}'
TEXT = f"""retry: 1500

: nothing new

id: 1
event: status
data: {TASK}

id: 2
event: log
data:{LINE}

id: 3
event: log
data: {{"line": "cut"
""".encode()


def stream(chunks: list[bytes]) -> EventSource:
    return EventSource(httpx.Response(200, headers={"Content-Type": "text/event-stream"}, content=iter(chunks)))


def events(following: Following, chunks: list[bytes]) -> Iterator[Event]:
    for sse in stream(chunks).iter_sse():
        if event := following.received(sse):
            yield event


def followed() -> Following:
    return Following("http://jobs", "a", 0)


@pytest.mark.parametrize("text", [TEXT, TEXT.replace(b"\n", b"\r\n")], ids=["LF", "CRLF"])
@pytest.mark.parametrize("size", [1, 7, 1000])
def test_events_are_read_however_they_are_cut(text: bytes, size: int) -> None:
    chunks = [text[start : start + size] for start in range(0, len(text), size)]
    status, log = events(followed(), chunks)
    assert status.task
    assert (status.kind, status.task.status) == ("status", "queued")
    assert log.line
    assert (log.kind, log.line.line) == ("log", "grün")


def test_what_came_only_in_part_is_asked_for_again() -> None:
    following = followed()
    assert "Last-Event-ID" not in following.headers
    list(events(following, [TEXT]))
    assert (following.headers["Last-Event-ID"], following._pause_seconds) == ("2", 1.5)
    (log,) = events(following, [f"id: 3\nevent: log\ndata: {LINE}\n\n".encode()])
    assert log.line
    assert following.headers["Last-Event-ID"] == "3"


def test_a_server_does_not_decide_to_be_waited_for_for_ever() -> None:
    following = followed()
    list(events(following, [b"retry: 999999999\nretry: soon\n\n"]))
    assert following._pause_seconds == 30


def test_an_event_of_a_later_version_is_left_out() -> None:
    assert list(events(followed(), [b"event: weather\ndata: {}\n\n"])) == []


def test_a_task_that_is_gone() -> None:
    with pytest.raises(UnknownTask, match="There is no task 'a'"):
        list(events(followed(), [b"event: gone\ndata: {}\n\n"]))


def test_a_first_connection_that_fails_is_told_and_a_later_one_may_fail_for_a_minute() -> None:
    following = followed()
    error = httpx.ReadError("cut")
    with pytest.raises(ApiRefused, match="http://jobs does not answer: cut"):
        following.broke_off(error)
    following = followed()
    assert following.opened(stream([]).response)
    following.broke_off(error)
    following.broke_off(error)


def test_a_read_from_a_connection_ends_before_the_time_is_over() -> None:
    assert Deadline(None).read_seconds() == 40
    deadline = Deadline(5)
    assert 4.9 < deadline.read_seconds() <= 5
    assert not deadline.is_too_close()
    past = Deadline(0)
    assert past.is_too_close()
