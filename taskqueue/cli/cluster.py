"""The commands `queues` and `workers`: the state of the cluster."""

import argparse
from typing import Any

from taskqueue.cli.client import client_for
from taskqueue.cli.parser import add_command
from taskqueue.cli.screen import print_json, print_table


def add(commands: Any) -> None:
    """Add the commands to the parser."""
    add_command(
        commands,
        "queues",
        "list the queues",
        "List the queues, the most important first: whether each is paused, how long its oldest task has been"
        " waiting, how many workers take tasks from it, and how many tasks it has of each status.",
        examples=["queues", "queues --json"],
    ).set_defaults(run=queues)
    add_command(
        commands,
        "workers",
        "list the workers",
        "List the workers: their state, their queues, and the ids of the tasks that they run. The state `lost`"
        " means that a worker was killed or cut off; it disappears from the list after 90 seconds.",
        examples=["workers", "--url https://jobs.example.com workers"],
    ).set_defaults(run=workers)


def queues(args: argparse.Namespace) -> int:
    """List the queues."""
    rows = client_for(args).queues()
    print_json(rows) if args.json else print_table(rows, "There are no queues.")
    return 0


def workers(args: argparse.Namespace) -> int:
    """List the workers."""
    rows = client_for(args).workers()
    print_json(rows) if args.json else print_table(
        rows, "No worker is running. Start one: python -m taskqueue worker"
    )
    return 0
