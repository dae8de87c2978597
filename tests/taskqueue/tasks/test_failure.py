"""Failures are grouped by what they have in common."""

import pytest

from taskqueue.tasks.failure import failure_text, without_details


@pytest.mark.parametrize(
    ("one", "other", "shared"),
    [
        ("row 17 is bad", "row 4 is bad", "row N is bad"),
        ("no file 1f0c55d3e8a94b21", "no file 8a1b22c3d4e5f607", "no file ID"),
        ("ada@example.com is unknown", "bob@example.org is unknown", "EMAIL is unknown"),
        ("https://a.example/x?y=1 is gone", "http://b.example is gone", "URL is gone"),
    ],
)
def test_details_are_left_out(one: str, other: str, shared: str) -> None:
    assert without_details(one) == without_details(other) == shared


def test_status_codes_tell_failures_apart() -> None:
    assert without_details("the server said 503") != without_details("the server said 404")


def test_a_huge_message_takes_no_time() -> None:
    assert len(without_details("a" * 10_000_000)) == 200


def test_the_type_and_the_kind_of_error_belong_to_it() -> None:
    line = 'Traceback (most recent call last):\n  File "jobs/a.py", line 1, in a\nValueError: row 1 is bad'
    assert failure_text("sync", line) == failure_text("sync", line.replace("row 1", "row 2"))
    assert failure_text("sync", line).split()[1:] == ["sync", "ValueError", "row", "N", "is", "bad"]
    assert failure_text("sync", line).split()[0] != failure_text("email", line).split()[0]
