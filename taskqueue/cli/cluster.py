"""`queues`, `workers`: the whole."""

import argparse
from typing import Any

from taskqueue.cli.client import client_of
from taskqueue.cli.screen import print_json, print_table


def add(commands: Any) -> None:
    """Add the commands to the parser's."""
    parser = commands.add_parser("queues", help="list the queues, and how much waits")
    parser.set_defaults(run=queues)
    parser = commands.add_parser("workers", help="list the workers that live")
    parser.set_defaults(run=workers)


def queues(asked: argparse.Namespace) -> int:
    """List the queues."""
    rows = client_of(asked).queues()
    print_json(rows) if asked.json else print_table(rows, "There are no queues.")
    return 0


def workers(asked: argparse.Namespace) -> int:
    """List the workers."""
    rows = client_of(asked).workers()
    print_json(rows) if asked.json else print_table(rows, "No worker runs. Start one: python worker.py")
    return 0
