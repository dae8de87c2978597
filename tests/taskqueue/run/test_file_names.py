"""The names of files: what may stand in them, and what is kept of a name that is too long."""

import pytest

from taskqueue.run.file_names import FILENAME, filename, shown_name


@pytest.mark.parametrize(
    ("sent", "shown"),
    [
        ("../../etc/passwd", "passwd"),
        ("C:\\Users\\ada\\Отчёт.pdf", "Отчёт.pdf"),
        ("a\r\nX-Evil: 1.txt", "aX-Evil: 1.txt"),
        ("nul\x00l\x85\x7f.txt", "null.txt"),
        ("two\u2028lines\u2029.txt", "twolines.txt"),
        ("invoice\u202efdp.exe", "invoicefdp.exe"),
        ("\u2066a\u2069\u202db\u202c.txt", "ab.txt"),
        ("half \ud83d.txt", "half .txt"),
        ("", "file"),
        (".", "file"),
        ("..", "file"),
        ("folder/", "file"),
        ("\u202e", "file"),
        ("  ", "file"),
    ],
)
def test_what_deceives_or_harms_is_removed(sent: str, shown: str) -> None:
    assert shown_name(sent) == shown


@pytest.mark.parametrize(
    "name", ["ü" * 300 + ".pdf", "x" * 5000 + ".tar", "👩" * 100 + ".請求書", "я" * 500, "." + "a" * 300]
)
def test_a_name_that_is_too_long_keeps_its_ending(name: str) -> None:
    shown = shown_name(name)
    assert 240 < len(shown.encode()) <= 255
    assert shown[0] == name[0]
    if "." in name[1:]:
        assert shown.endswith(name[name.rindex(".") :])


@pytest.mark.parametrize("name", ["", "-", "...", "ü", "x" * 300, "a/b", "Отчёт.pdf"])
def test_every_name_makes_a_filename(name: str) -> None:
    assert FILENAME.fullmatch(filename("0" * 32, shown_name(name)))
