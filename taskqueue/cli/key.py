"""`python -m taskqueue key NAME`: make an API key."""

import argparse
import sys
from typing import Any

from taskqueue.settings.api_keys import SCOPES, new_key


def add(commands: Any) -> None:
    """Add the command to the parser's."""
    parser = commands.add_parser(
        "key",
        help="make an API key",
        description="Make an API key: the key is for its user; its entry, which has a hash only, for API_KEYS.",
    )
    parser.add_argument(
        "name", metavar="NAME", help="whose key it is, as it shall be shown: letters, digits, . _ -"
    )
    parser.add_argument(
        "--scope",
        choices=SCOPES,
        default="submit",
        help="the most that it may do; each one includes those before it (default: %(default)s)",
    )
    parser.add_argument(
        "--types",
        default="",
        metavar="TYPE,TYPE",
        help="the only task types that it sees (default: all)",
    )
    parser.set_defaults(run=run)


def run(asked: argparse.Namespace) -> int:
    """Print the key, this once, and its entry."""
    secret, key = new_key(asked.name, asked.scope, asked.types.split(",") if asked.types else ())
    print("The key, which is shown only now. Its user sends it as `Authorization: Bearer KEY`:", file=sys.stderr)
    print(secret)
    print("Its entry. Add it to API_KEYS, or to the file that API_KEYS names:", file=sys.stderr)
    print(key.entry())
    return 0
