"""The log's form."""

import ast
import io
import json
import logging
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from taskqueue.telemetry.log import JsonLine, Line, about, configuration
from taskqueue.telemetry.trace import Trace, current_trace
from tests.conftest import ROOT


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


FORGED = "x\n16:00:00 ERROR   Task t-1 failed\x1b[2J\x1b]0;title\x07\r16:00:00\x85a\u2028b\u202ec\x7f"


def printable_lines(record: logging.LogRecord) -> list[str]:
    lines = Line(colour=False).format(record).split("\n")
    assert all(line.isprintable() for line in lines)
    assert all(line.startswith("    ") for line in lines[1:])
    return lines


@pytest.mark.parametrize(
    ("message", "values"), [("Got %s", (FORGED,)), ("Got %(x)s", ({"x": FORGED},)), (FORGED, ())]
)
def test_what_a_client_sends_begins_no_line_and_moves_no_cursor(message: str, values: tuple[object, ...]) -> None:
    lines = printable_lines(logging.LogRecord("n", logging.INFO, "f", 1, message, values, None))
    assert len(lines) == 1 or message == FORGED
    assert "16:00:00 ERROR   Task t-1 failed" in "".join(lines)


def test_a_traceback_stays_several_lines() -> None:
    try:
        raise ValueError(FORGED)
    except ValueError:
        record = logging.LogRecord("n", logging.ERROR, "f", 1, "it broke at %s", (FORGED,), sys.exc_info())
    lines = printable_lines(record)
    assert lines[1] == "    Traceback (most recent call last):"
    assert lines[4].startswith("    ValueError: x")
    assert (
        len(printable_lines(logging.LogRecord("n", logging.INFO, "f", 1, "Of %s:\n%s", ("t", "a\nb"), None))) == 3
    )


def test_an_empty_message_is_a_line() -> None:
    assert len(printable_lines(logging.LogRecord("n", logging.INFO, "f", 1, "", (), None))) == 1


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


LOG_CALLS = {"debug", "info", "warning", "error", "exception", "critical", "log"}
NAMES_A_TASK = re.compile(
    r"\btask %|\.task_id\b|\bjob_id\b|\bjob\.id\b|\.task\.id\b|\boutcome\.job\b", re.IGNORECASE
)


def log_calls(file: Path) -> Iterator[ast.Call]:
    for node in ast.walk(ast.parse(file.read_text())):
        if (
            isinstance(node, ast.Call)
            and isinstance(node.func, ast.Attribute)
            and node.func.attr in LOG_CALLS
            and ast.unparse(node.func.value).rpartition(".")[2] in ("log", "logger", "logging")
        ):
            yield node


def test_each_log_line_about_one_task_carries_its_id() -> None:
    about_tasks = [
        (f"{file.name}:{call.lineno}", call)
        for file in (ROOT / "taskqueue").rglob("*.py")
        for call in log_calls(file)
        if any(NAMES_A_TASK.search(ast.unparse(argument)) for argument in call.args)
    ]
    assert len(about_tasks) >= 14
    without_id = [
        place
        for place, call in about_tasks
        if not any(
            keyword.arg == "extra" and ast.unparse(keyword.value).startswith(("about(", "{'task_id': "))
            for keyword in call.keywords
        )
    ]
    assert without_id == []


def test_a_json_line_about_a_task_has_its_id(caplog: pytest.LogCaptureFixture) -> None:
    logging.getLogger("taskqueue.worker").warning("Task %s failed", "t-1", extra=about("t-1"))
    assert json_line(caplog.records[0])["task_id"] == "t-1"
