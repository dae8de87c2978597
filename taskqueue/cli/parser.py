"""Builds the parsers of the commands, so that every `--help` has the same parts."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from textwrap import fill
from typing import Any

PROGRAM = "taskqueue" if Path(sys.argv[0]).name == "taskqueue" else "python -m taskqueue"
HELP_COLUMNS = 78


def add_command(
    commands: Any, name: str, summary: str, description: str, *, examples: Sequence[str]
) -> argparse.ArgumentParser:
    """Add a command, and return its parser; `examples` are arguments of the program."""
    lines = [f"  {PROGRAM} {example}" for example in examples]
    parser: argparse.ArgumentParser = commands.add_parser(
        name,
        help=summary,
        description=fill(description, HELP_COLUMNS),
        epilog="\n".join([f"example{'s' if len(lines) > 1 else ''}:", *lines]),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    return parser
