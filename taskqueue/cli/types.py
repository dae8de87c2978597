"""The command `types`: lists the task types, and describes one."""

import argparse
from typing import Any

from taskqueue.cli.operations import operations_for
from taskqueue.cli.parser import add_command
from taskqueue.cli.screen import chosen, print_fields, print_json, print_table

TYPE = ("name", "queue", "attempts", "timeout", "concurrency", "rate", "description")


def add(commands: Any) -> None:
    """Add the command to the parser."""
    parser = add_command(
        commands,
        "types",
        "list the task types, or describe one",
        "List the task types: what `submit` can queue. With NAME, describe one, with the JSON Schemas of its"
        " payload and its result.",
        types,
        examples=["types", "types email"],
    )
    parser.add_argument("name", nargs="?", metavar="NAME", help="a task type (default: list all)")


def types(args: argparse.Namespace) -> int:
    """List the task types, or describe one."""
    operations = operations_for(args)
    if args.name is not None:
        row = operations.task_type(args.name)
        print_json(row) if args.json else print_fields(row["name"], row)
        return 0
    rows = operations.task_types()
    if args.json:
        print_json(rows)
    else:
        short = [row | {"description": row["description"].partition("\n")[0]} for row in rows]
        print_table(chosen(short, TYPE), "There are no task types.")
    return 0
