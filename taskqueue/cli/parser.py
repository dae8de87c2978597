"""Builds the parsers of the commands, so that every `--help` has the same parts."""

import argparse
import json
import re
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from textwrap import fill
from typing import Any

from taskqueue.errors import InvalidSetting
from taskqueue.jobtypes.signature import Json

PROGRAM = "taskqueue" if Path(sys.argv[0]).name == "taskqueue" else "python -m taskqueue"
HELP_COLUMNS = 78
ID = "5c1f7c1e-8d0b-4f7e-9a0e-2b7d4c1f0a11"  # in examples
KEY = re.compile(r"[\x21-\x7e]{1,255}")
SEARCH = """\
words of a search:
  status:failed,canceled   type:email   queue:high   tag:customer:7   worker:NAME
  created:today   failed:<2h (in the last two hours)   ran:>10s   group:3f0a1c9b7d52
  id:6f1c, or the beginning of an id   order:ended (the latest ended first)"""


def add_command(
    commands: Any,
    name: str,
    summary: str,
    description: str,
    run: Callable[[argparse.Namespace], int],
    *,
    examples: Sequence[str],
    more: str = "",
) -> argparse.ArgumentParser:
    """Add a command, which `run` does, and return its parser.

    `examples` are arguments of the program; `more` is printed above them.
    """
    lines = [f"  {PROGRAM} {example}" for example in examples]
    parts = [more] if more else []
    parser: argparse.ArgumentParser = commands.add_parser(
        name,
        help=summary,
        description=fill(description, HELP_COLUMNS),
        epilog="\n\n".join([*parts, "\n".join([f"example{'s' if len(lines) > 1 else ''}:", *lines])]),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.set_defaults(run=run)
    add_shared(
        parser, url=argparse.SUPPRESS, json=argparse.SUPPRESS, jobs=argparse.SUPPRESS
    )  # they may follow the command, too
    return parser


def add_shared(parser: argparse.ArgumentParser, *, url: str | None, json: bool | str, jobs: str | None) -> None:
    """Add the options of all commands."""
    parser.add_argument("--url", default=url, help="use the HTTP API at this URL instead of Redis")
    parser.add_argument("--json", action="store_true", default=json, help="print JSON, for a program")
    parser.add_argument("--jobs", default=jobs, metavar="MODULES", help="where the job types are (JOBS)")


def add_id(parser: argparse.ArgumentParser) -> None:
    """Add the argument for the id of a task."""
    parser.add_argument("task_id", metavar="ID", help="the id of the task, as `submit` printed it")


def number(text: str) -> int:
    """Return a whole number of at least 1, for argparse."""
    value = int(text)
    if value < 1:
        raise ValueError(text)
    return value


def idempotency_key(text: str) -> str:
    """Return an Idempotency-Key, for argparse."""
    if not KEY.fullmatch(text):
        raise argparse.ArgumentTypeError("it must be 1 to 255 visible ASCII characters, such as a UUID")
    return text


def json_argument(text: str, what: str) -> Json:
    """Return the JSON of an argument: as it is written, from `@FILE`, or from standard input (`@-`).

    Raises `InvalidSetting`, which calls it `what`.
    """
    try:
        if text.startswith("@"):
            text = sys.stdin.read() if text == "@-" else Path(text[1:]).read_text(encoding="utf-8")
        return json.loads(text.removeprefix("\ufeff"))  # a byte order mark, as editors on Windows write it
    except OSError as error:
        raise InvalidSetting(f"The file {text[1:]!r} cannot be read: {error.strerror}.") from None
    except ValueError as error:
        raise InvalidSetting(f'The {what} is not JSON: {error}. Write \'{{"name": "value"}}\'') from None
