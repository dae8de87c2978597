"""What a run has raised, as the text that is kept of it: bounded, and without characters that UTF-8 cannot say."""

import sys

from rq.job_lifecycle import format_exc_info

MAX_LINE_CHARACTERS = 2_000
MAX_CHARACTERS = 20_000


def current_error() -> str:
    """The traceback of the exception that is handled now."""
    return kept(format_exc_info(sys.exc_info()))


def kept(traceback: str) -> str:
    """So much of it: a driver may put a whole statement, and what it was given, into its message."""
    text = traceback.encode(errors="backslashreplace").decode()  # a name of os.listdir's may have lone surrogates
    text = "\n".join(_begun(line) for line in text.split("\n"))
    left_out = len(text) - MAX_CHARACTERS
    if left_out <= 0:
        return text
    half = MAX_CHARACTERS // 2
    return f"{text[:half]}\n… {left_out:,} characters are left out here …\n{text[-half:]}"


def _begun(line: str) -> str:
    return line if len(line) <= MAX_LINE_CHARACTERS else line[:MAX_LINE_CHARACTERS] + "…"
