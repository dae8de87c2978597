"""The log's form."""

import io
import logging

import pytest

from taskqueue.log import Line, configuration


def line(colour: bool, level: int = logging.WARNING) -> str:
    return Line(colour).format(logging.LogRecord("n", level, "f", 1, "it %s", ("broke",), None))


def test_a_line_has_the_time_the_level_and_the_words() -> None:
    assert line(colour=False)[8:] == " WARNING it broke"


def test_colour_marks_what_needs_a_look() -> None:
    assert line(colour=True).startswith("\033[33m")
    assert "\033" not in line(colour=True, level=logging.INFO)


@pytest.mark.parametrize(
    ("variables", "colour"),
    [({}, False), ({"FORCE_COLOR": "1"}, True), ({"FORCE_COLOR": "1", "NO_COLOR": "1"}, False)],
)
def test_colour_is_for_terminals_and_who_asks(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], colour: bool
) -> None:
    monkeypatch.setattr("sys.stderr", io.StringIO())
    for name in ("FORCE_COLOR", "NO_COLOR"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert configuration("INFO")["formatters"]["line"]["colour"] is colour
