"""What is printed on a terminal and into a pipe."""

from io import StringIO

import pytest

from taskqueue.cli.screen import LiveLine, clean, print_indented, print_table


class Terminal(StringIO):
    """Standard output as a terminal."""

    def isatty(self) -> bool:
        return True


def test_the_last_line_changes_in_its_place(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdout", terminal := Terminal())
    live = LiveLine()
    live.show("1/2")
    live.print_above("a line of the log")
    live.show("2/2")
    live.clear()
    in_its_place, unwrapped, wrapped = "\r\033[K", "\033[?7l", "\033[?7h"
    assert terminal.getvalue().split(in_its_place) == [
        "",
        f"{unwrapped}1/2{wrapped}",
        "a line of the log\n",
        f"{unwrapped}1/2{wrapped}",
        f"{unwrapped}2/2{wrapped}",
        f"{unwrapped}{wrapped}",
    ]


def test_without_a_terminal_each_line_stays_and_none_comes_twice(capsys: pytest.CaptureFixture[str]) -> None:
    live = LiveLine()
    for line in ("1/2", "1/2", "2/2"):
        live.show(line)
    live.print_above("a line of the log")
    live.clear()
    assert capsys.readouterr().out == "1/2\n2/2\na line of the log\n"


ROWS = [
    {"name": "w1", "state": "busy", "queues": ["high", "low"], "tasks": [f"{number}-" * 9 for number in range(4)]},
    {"name": "w2", "state": "idle", "queues": ["high"], "tasks": []},
]


def test_a_table_that_is_too_wide_for_the_terminal_becomes_paragraphs_and_cuts_no_id(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("sys.stdout", terminal := Terminal())
    monkeypatch.setenv("COLUMNS", "60")
    print_table(ROWS, "none")
    assert terminal.getvalue() == (
        "w1\n  state: busy  queues: high, low  tasks: 0-0-0-0-0-0-0-0-0-,\n"
        "  1-1-1-1-1-1-1-1-1-, 2-2-2-2-2-2-2-2-2-, 3-3-3-3-3-3-3-3-3-\n"
        "w2\n  state: idle  queues: high\n"
    )


def test_a_table_in_a_pipe_is_never_cut(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "60")
    print_table(ROWS, "none")
    assert capsys.readouterr().out.splitlines()[1:] == [
        f"w1    busy   high,low  {','.join(ROWS[0]['tasks'])}",
        "w2    idle   high",
    ]


def test_long_text_is_wrapped_behind_its_margin_on_a_terminal_and_never_in_a_pipe(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "20")
    print_indented("Start one: python worker.py", 6, "wrong ")
    assert capsys.readouterr().out == "wrong Start one: python worker.py\n"
    monkeypatch.setattr("sys.stdout", terminal := Terminal())
    print_indented("Start one: python worker.py", 6, "wrong ")
    assert terminal.getvalue() == "wrong Start one:\n      python\n      worker.py\n"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain, grün, 日本", "plain, grün, 日本"),
        ("two\nlines\r\nor three", "two lines or three"),
        ("\033[2J\a\x9b", "\ufffd[2J\ufffd\ufffd"),
        ("right \u202e to left", "right \ufffd to left"),
        ("a\tb", "a       b"),
    ],
)
def test_text_of_others_is_one_line_without_commands(text: str, shown: str) -> None:
    assert clean(text) == shown
