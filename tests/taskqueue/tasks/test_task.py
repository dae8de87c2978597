"""The type and the message of an error are read from what RQ stores of it."""

import pytest

from taskqueue.tasks.task import error_of


def traceback_of(error: Exception) -> str:
    import traceback

    try:
        raise error
    except Exception as raised:  # noqa: BLE001
        return "".join(traceback.format_exception(raised))


class Custom(Exception):
    """An error of this file."""


@pytest.mark.parametrize(
    ("error", "kind", "message"),
    [
        (ValueError("bad"), "ValueError", "bad"),
        (ValueError(), "ValueError", ""),
        (ValueError("first\n  second: line\nKey: third"), "ValueError", "first\n  second: line\nKey: third"),
        (Custom("x: y"), "tests.taskqueue.tasks.test_task.Custom", "x: y"),
    ],
)
def test_the_end_of_a_traceback_is_read(error: Exception, kind: str, message: str) -> None:
    assert error_of(traceback_of(error)) == (kind, message)


def test_the_last_error_of_a_chain_counts() -> None:
    error = ValueError("the last")
    error.__cause__ = KeyError("the first")
    assert error_of(traceback_of(error)) == ("ValueError", "the last")


def test_a_deep_recursion_is_read() -> None:
    def deeper() -> None:
        deeper()

    with pytest.raises(RecursionError) as raised:
        deeper()
    assert error_of(traceback_of(raised.value))[0] == "RecursionError"


def test_what_rq_says_of_a_dead_work_horse_is_the_message() -> None:
    sentence = "Work-horse terminated unexpectedly; waitpid returned 9 (signal 9); "
    assert error_of(sentence) == ("WorkHorseTerminated", sentence.rstrip("; "))


def test_an_error_of_a_class_inside_a_function_is_read() -> None:
    class Inner(Exception):
        pass

    kind, message = error_of(traceback_of(Inner("bad")))
    assert kind.endswith("test_an_error_of_a_class_inside_a_function_is_read.<locals>.Inner")
    assert message == "bad"


def test_an_exception_group_is_read() -> None:
    group = ExceptionGroup("two of them", [ValueError("first"), ExceptionGroup("inner", [KeyError("second")])])
    assert error_of(traceback_of(group)) == ("ExceptionGroup", "two of them (2 sub-exceptions)")


def test_an_error_that_follows_a_group_is_read() -> None:
    error = ValueError("the last")
    error.__cause__ = ExceptionGroup("the first", [KeyError("x")])
    assert error_of(traceback_of(error)) == ("ValueError", "the last")


def test_an_error_that_cannot_be_told_has_its_type() -> None:
    class Mute(Exception):
        def __str__(self) -> str:
            raise RuntimeError("no words")

    kind, message = error_of(traceback_of(Mute()))
    assert kind.endswith("Mute")
    assert "failed" in message
