"""Reading Server-Sent Events."""

import pytest

from taskqueue.cli.event_stream import EventStream

TEXT = b"""retry: 1500

: nothing new

id: 1
event: status
data: {"status":
data:  "queued"}

id: 2
event: log
data:gr\xc3\xbcn

id: 3
event: log
data: cut
"""
EVENTS = [("status", '{"status":\n "queued"}'), ("log", "grün")]


@pytest.mark.parametrize("text", [TEXT, TEXT.replace(b"\n", b"\r\n")], ids=["LF", "CRLF"])
@pytest.mark.parametrize("size", [1, 7, 1000])
def test_events_are_read_however_they_are_cut(text: bytes, size: int) -> None:
    stream = EventStream()
    chunks = [text[start : start + size] for start in range(0, len(text), size)]
    assert list(stream.read(chunks)) == EVENTS


def test_what_came_only_in_part_is_asked_for_again() -> None:
    stream = EventStream()
    assert stream.received_at is None
    list(stream.read([TEXT]))
    assert (stream.last_id, stream.retry_seconds) == ("2", 1.5)
    assert stream.received_at is not None
    assert list(stream.read([b"id: 3\nevent: log\ndata: whole\n\n"])) == [("log", "whole")]
    assert stream.last_id == "3"


def test_a_server_does_not_decide_to_be_waited_for_for_ever() -> None:
    stream = EventStream()
    list(stream.read([b"retry: 999999999\nretry: soon\n\n"]))
    assert stream.retry_seconds == 30
