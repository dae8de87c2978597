"""The commands that list: `list`, `failures`, `changes`, `series`."""

import argparse
from typing import Any, get_args

from taskqueue.cli.operations import By, operations_for
from taskqueue.cli.parser import SEARCH, add_command, number
from taskqueue.cli.screen import chosen, print_json, print_table
from taskqueue.telemetry.series import Span

DEFAULT_LIMIT = 50
TASK = ("id", "type", "status", "queue", "created_at", "attempt", "tags", "failure")
FAILURE = ("group", "count", "type", "last_failed_at", "error")
EVENTS = ("submitted", "begun", "complete", "failed", "retried", "canceled")
CHANGE = ("at", "who", "via", "what", "target", "detail")


def add(commands: Any) -> None:
    """Add the commands to the parser."""
    parser = add_command(
        commands,
        "list",
        "list tasks",
        "List tasks, newest first: all of them, or those that a search finds.",
        tasks,
        examples=["list", "list status:failed type:email 'failed:<2h'", "list tag:customer:7 --limit 1000 --json"],
        more=SEARCH,
    )
    parser.add_argument("words", nargs="*", metavar="WORD", help="a word of a search: status:failed")
    _add_limit(parser)
    add_command(
        commands,
        "failures",
        "group failed tasks by their cause",
        "List the groups of failed tasks: one for each task type and kind of error, the largest first. `list"
        " group:GROUP` lists the tasks of a group, and `bulk requeue group:GROUP` requeues them.",
        failures,
        examples=["failures", "failures --json"],
    )
    parser = add_command(
        commands,
        "changes",
        "list who changed what",
        "List who has paused, canceled, requeued, scheduled or started what, and by which way, latest first.",
        changes,
        examples=["changes", "changes --limit 500 --json"],
    )
    _add_limit(parser)
    parser = add_command(
        commands,
        "series",
        "count what happened in the last hour, day or week",
        "Count the tasks that were submitted, begun and ended in each minute of the last hour, or in each hour of"
        " the last day or week. Steps in which nothing happened are left out, except with --json.",
        series,
        examples=["series", "series --span week --by task_type", "series --type email --json"],
    )
    parser.add_argument("--span", choices=get_args(Span), default="hour", help="(default: %(default)s)")
    parser.add_argument("--type", dest="task_type", metavar="TYPE", help="only tasks of this type")
    parser.add_argument("--queue", metavar="QUEUE", help="only tasks of this queue")
    parser.add_argument("--by", choices=get_args(By), help="one series for each")


def _add_limit(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--limit",
        type=number,
        default=DEFAULT_LIMIT,
        metavar="NUMBER",
        help="how many to list, at most (default: %(default)s)",
    )


def tasks(args: argparse.Namespace) -> int:
    """List tasks."""
    rows = operations_for(args).tasks(" ".join(args.words), args.limit)
    print_json(rows) if args.json else print_table(chosen(rows, TASK), "There are no such tasks.")
    return 0


def failures(args: argparse.Namespace) -> int:
    """List the groups of failed tasks."""
    answer = operations_for(args).failures()
    if args.json:
        print_json(answer)
        return 0
    print_table(chosen(answer["failures"], FAILURE), "No task has failed.")
    if not answer["complete"]:
        print("More tasks have failed: these are the latest 10,000 of each queue.")
    return 0


def changes(args: argparse.Namespace) -> int:
    """List who changed what."""
    rows = operations_for(args).changes(args.limit)
    print_json(rows) if args.json else print_table(chosen(rows, CHANGE), "Nobody has changed anything yet.")
    return 0


def series(args: argparse.Namespace) -> int:
    """Count what happened in a span."""
    answer = operations_for(args).series(args.span, args.task_type, args.queue, args.by)
    if args.json:
        print_json(answer)
        return 0
    rows = [
        {"at": point["at"], **({args.by: each["name"]} if args.by else {})} | point
        for each in answer["series"]
        for point in each["points"]
        if any(point[event] for event in EVENTS)
    ]
    print_table(rows, "Nothing has happened.")
    return 0
