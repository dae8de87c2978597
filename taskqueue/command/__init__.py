"""The command line: `python -m taskqueue --help`."""

import argparse
import sys
from collections.abc import Sequence

from taskqueue.command import key
from taskqueue.errors import InvalidSetting

EXIT_USAGE = 2


def main(arguments: Sequence[str] | None = None) -> int:
    """Do what the arguments ask; the exit code."""
    parser = argparse.ArgumentParser(prog="python -m taskqueue", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND", title="commands")
    key.add(commands)
    asked = parser.parse_args(arguments)
    try:
        code: int = asked.run(asked)
    except InvalidSetting as error:
        print(f"taskqueue: {error}", file=sys.stderr)
        return EXIT_USAGE
    return code
