"""Writes an exception as the text that is stored of it: of limited length, and valid UTF-8."""

import sys

from rq.job_lifecycle import format_exc_info

MAX_LINE_CHARACTERS = 2_000
MAX_CHARACTERS = 20_000


def current_error() -> str:
    """Return the traceback of the exception that is being handled, shortened."""
    return shortened(format_exc_info(sys.exc_info()))


def shortened(traceback: str) -> str:
    """Return a traceback of at most about MAX_CHARACTERS.

    A database driver may put a whole statement, with all its values, into a message.
    """
    text = traceback.encode(errors="backslashreplace").decode()  # a name from os.listdir may have lone surrogates
    text = "\n".join(_first_characters(line) for line in text.split("\n"))
    left_out = len(text) - MAX_CHARACTERS
    if left_out <= 0:
        return text
    half = MAX_CHARACTERS // 2
    return f"{text[:half]}\n… {left_out:,} characters are left out here …\n{text[-half:]}"


def _first_characters(line: str) -> str:
    return line if len(line) <= MAX_LINE_CHARACTERS else line[:MAX_LINE_CHARACTERS] + "…"
