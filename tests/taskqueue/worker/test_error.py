"""What is kept of an error."""

import pytest

from taskqueue.tasks.task import error_of
from taskqueue.worker.error import MAX_CHARACTERS, MAX_LINE_CHARACTERS, current_error


def raised(error: Exception) -> str:
    try:
        raise error
    except type(error):
        return current_error()


def test_a_short_one_is_kept_whole() -> None:
    assert raised(ValueError("bad")).rstrip().endswith("ValueError: bad")


def test_what_utf_8_cannot_say_is_written_out() -> None:
    told = raised(ValueError("bad name caf\udce9.txt"))
    assert error_of(told) == ("ValueError", r"bad name caf\udce9.txt")
    assert told.encode()


@pytest.mark.parametrize("message", ["y" * 3_000_000, "many\n" * 600_000])
def test_a_long_one_is_bounded_and_its_kind_is_still_known(message: str) -> None:
    told = raised(ValueError(message))
    assert len(told) < MAX_CHARACTERS + 100
    kind, shown = error_of(told)
    assert kind == "ValueError"
    assert MAX_LINE_CHARACTERS - 20 < len(shown) < MAX_CHARACTERS
