"""The command `key`: makes an API key."""

import argparse
import sys
from typing import Any

from taskqueue.cli.parser import add_command
from taskqueue.settings.api_keys import SCOPES, new_key


def add(commands: Any) -> None:
    """Add the command to the parser."""
    parser = add_command(
        commands,
        "key",
        "make an API key",
        "Make an API key and print two lines: the key, which its user needs, and the entry for API_KEYS, which has"
        " only a hash of the key. Nothing is stored: a lost key cannot be shown again.",
        run,
        examples=["key shop --scope submit", "key mailer --scope submit --types email,newsletter"],
    )
    parser.add_argument("name", metavar="NAME", help="a name for the key's user: letters, digits, . _ -")
    parser.add_argument(
        "--scope",
        choices=SCOPES,
        default="submit",
        help="what the key allows; each scope includes those before it (default: %(default)s)",
    )
    parser.add_argument(
        "--types",
        default="",
        metavar="TYPE,TYPE",
        help="the only task types that the key may see and submit (default: all)",
    )


def run(args: argparse.Namespace) -> int:
    """Print a new key and its entry for API_KEYS."""
    secret, key = new_key(args.name, args.scope, args.types.split(",") if args.types else ())
    print("The key, which is shown only now. Its user sends it as `Authorization: Bearer KEY`:", file=sys.stderr)
    print(secret)
    print("Its entry. Add it to API_KEYS, or to the file that API_KEYS names:", file=sys.stderr)
    print(key.entry())
    return 0
