"""The commands for the cluster: `queues`, `workers`, `pause`, `resume`."""

import argparse
from typing import Any

from taskqueue.cli.operations import operations_for
from taskqueue.cli.parser import add_command
from taskqueue.cli.screen import print_json, print_table
from taskqueue.telemetry.clean import clean


def add(commands: Any) -> None:
    """Add the commands to the parser."""
    add_command(
        commands,
        "queues",
        "list the queues",
        "List the queues, the most important first: whether each is paused, how long its oldest task has been"
        " waiting, how many workers take tasks from it, and how many tasks it has of each status.",
        queues,
        examples=["queues", "queues --json"],
    )
    add_command(
        commands,
        "workers",
        "list the workers",
        "List the workers: their state, their queues, and the ids of the tasks that they run. The state `lost`"
        " means that a worker was killed or cut off; it disappears from the list after 90 seconds.",
        workers,
        examples=["workers", "--url https://jobs.example.com workers"],
    )
    _add_queue(
        commands,
        "pause",
        "pause a queue",
        "Pause a queue: workers start none of its tasks. Tasks that run go on, and new tasks are accepted.",
    )
    _add_queue(
        commands, "resume", "resume a queue", "Resume a queue: workers start its tasks again within a second."
    )


def _add_queue(commands: Any, name: str, summary: str, description: str) -> None:
    parser = add_command(commands, name, summary, description, set_paused, examples=[f"{name} low"])
    parser.add_argument("queue", metavar="QUEUE", help="the name of the queue")
    parser.set_defaults(paused=name == "pause")


def queues(args: argparse.Namespace) -> int:
    """List the queues."""
    rows = operations_for(args).queues()
    print_json(rows) if args.json else print_table(rows, "There are no queues.")
    return 0


def workers(args: argparse.Namespace) -> int:
    """List the workers."""
    rows = operations_for(args).workers()
    print_json(rows) if args.json else print_table(
        rows, "No worker is running. Start one: python -m taskqueue worker"
    )
    return 0


def set_paused(args: argparse.Namespace) -> int:
    """Pause a queue, or resume it."""
    operations = operations_for(args)
    (operations.pause if args.paused else operations.resume)(args.queue)
    if args.json:
        print_json({"name": args.queue, "paused": args.paused})
    else:
        print(f"The queue {clean(args.queue)!r} is {'paused' if args.paused else 'resumed'}.")
    return 0
