"""What a job can call when no worker runs it."""

import json
import math
from typing import Any

import pytest

from taskqueue import current_task, files, progress
from taskqueue.run.context import MAX_MESSAGE_CHARACTERS, Progress


def test_a_job_can_be_called_as_plain_python() -> None:
    from jobs.generic import generic

    assert generic(a=1) == {"a": 1}


def test_outside_a_worker_there_is_no_task_and_progress_goes_nowhere() -> None:
    assert current_task() is None
    progress(1, 2, "half")


@pytest.mark.usefixtures("env")
def test_outside_a_worker_files_are_those_of_the_environment() -> None:
    stored = files().write(b"text", "a.txt")
    assert files().read(stored.filename)[1] == b"text"


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        (("3", 10), TypeError, "done must be a number, got str; write int"),
        ((True,), TypeError, "done must be a number, got bool"),
        ((1, "10"), TypeError, "total must be a number, got str"),
        ((math.nan,), ValueError, "done must be a finite number from 0 on"),
        ((1, math.inf), ValueError, "total must be a finite number from 0 on"),
        ((-1, 10), ValueError, "done must be a finite number from 0 on"),
        ((10**5000,), ValueError, "done must be a finite number from 0 on"),
        ((1, 2, b"half"), TypeError, "message must be a string, got bytes"),
    ],
)
def test_what_is_no_progress_is_refused_with_the_fix(
    arguments: tuple[Any, ...], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        progress(*arguments)


def test_a_message_is_bounded_and_can_be_told() -> None:
    stored = json.loads(Progress(1, 2, "\ud800" + "x" * 100_000, 0.0).text())
    assert stored == {
        "done": 1,
        "total": 2,
        "message": "?" + "x" * (MAX_MESSAGE_CHARACTERS - 1),
        "at": "1970-01-01T00:00:00.000Z",
    }
