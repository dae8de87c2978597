"""What is printed on a terminal and into a pipe."""

from io import StringIO

import pytest

from taskqueue.cli.screen import LiveLine, clean


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
