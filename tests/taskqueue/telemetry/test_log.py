"""The log's form."""

import io
import json
import logging
import sys

import pytest

from taskqueue.telemetry.log import JsonLine, Line, configuration
from taskqueue.telemetry.trace import Trace, current_trace


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
    assert configuration("INFO", "text")["formatters"]["text"]["colour"] is colour


def json_line(record: logging.LogRecord) -> dict[str, object]:
    text = JsonLine().format(record)
    assert "\n" not in text
    return dict(json.loads(text))


def test_a_json_line_has_what_is_known() -> None:
    told = json_line(logging.LogRecord("jobs.email", logging.INFO, "f", 1, "it %s", ("works\n",), None))
    assert str(told.pop("time")).endswith("Z")
    assert told == {"level": "INFO", "logger": "jobs.email", "message": "it works\n"}


def test_a_json_line_tells_the_request() -> None:
    token = current_trace.set(Trace("r-1", f"00-{'a' * 32}-{'b' * 16}-01"))
    told = json_line(logging.LogRecord("n", logging.INFO, "f", 1, "it", (), None))
    current_trace.reset(token)
    assert (told["request_id"], told["trace_id"]) == ("r-1", "a" * 32)


def test_a_json_line_has_the_traceback_in_it() -> None:
    try:
        raise ValueError("no")
    except ValueError:
        told = json_line(logging.LogRecord("n", logging.ERROR, "f", 1, "it broke", (), sys.exc_info()))
    assert "ValueError: no" in str(told["exception"])
