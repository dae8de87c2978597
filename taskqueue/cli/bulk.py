"""The command `bulk`: requeues, cancels or deletes all tasks that a search finds; lists what it has done."""

import argparse
from typing import Any

from taskqueue.cli.operations import Row, operations_for
from taskqueue.cli.parser import SEARCH, add_command, number
from taskqueue.cli.screen import print_json, print_table, print_task
from taskqueue.cli.watch import watch
from taskqueue.control.bulk import ACTIONS
from taskqueue.errors import TooManyMatch
from taskqueue.telemetry.clean import clean

LIST = "list"


def add(commands: Any) -> None:
    """Add the command to the parser."""
    parser = add_command(
        commands,
        "bulk",
        "requeue, cancel or delete many tasks",
        "Requeue, cancel or delete all tasks that a search finds. Tasks that came later are left alone. A task of"
        " the type tq-bulk does it: `watch` follows it, and `cancel` stops it. No more tasks are changed than have"
        " been counted before, or than --max says.",
        bulk,
        examples=[
            "bulk requeue type:email 'failed:<2h' --dry-run",
            "bulk requeue group:3f0a1c9b7d52 --max 1203 --rate 20 --watch",
            "bulk cancel tag:customer:7 --delay 30",
            "bulk delete status:complete 'created:>2d'",
            "bulk list",
        ],
        more=SEARCH,
    )
    parser.add_argument(
        "action",
        choices=(*ACTIONS, LIST),
        metavar="ACTION",
        help=f"{', '.join(ACTIONS)}; {LIST}: the latest actions",
    )
    parser.add_argument("words", nargs="*", metavar="WORD", help="a word of a search: status:failed")
    parser.add_argument("--dry-run", action="store_true", help="change nothing, and say how many tasks match")
    parser.add_argument(
        "--max", type=number, metavar="NUMBER", help="change none if more match (default: as many as match now)"
    )
    parser.add_argument(
        "--rate", type=float, metavar="NUMBER", help="how many tasks to change in a second, at most"
    )
    parser.add_argument(
        "--delay", type=float, metavar="SECONDS", help="wait so long first: until then `cancel` undoes all of it"
    )
    parser.add_argument("--watch", action="store_true", help="then follow the task that does it")


def bulk(args: argparse.Namespace) -> int:
    """Count the tasks and, unless it is a dry run, queue the task that changes them."""
    operations = operations_for(args)
    if args.action == LIST:
        rows = operations.bulk_actions()
        print_json(rows) if args.json else print_table([_short(row) for row in rows], "There are no bulk actions.")
        return 0
    search = " ".join(args.words)
    most = args.max
    if args.dry_run or most is None:
        matching = operations.matching(args.action, search)
        if args.dry_run:
            print_json(matching) if args.json else _print_matching(matching)
            return 0
        most = matching["matching"]
        if matching["more"]:
            raise TooManyMatch(most)
        if not most:
            print_json(matching) if args.json else _print_matching(matching)
            return 0
    task = operations.bulk(args.action, search, most, args.rate, args.delay)
    if args.watch:
        return watch(operations, task["id"], as_json=args.json)
    (print_json if args.json else print_task)(task)
    return 0


def _short(row: Row) -> Row:
    """Return what a table shows of a bulk action: what its task was given, and how far it is."""
    payload, progress = row["payload"], row["progress"] or {"done": 0, "total": None}
    done, total = progress["done"], progress["total"]
    return {
        "id": row["id"],
        "created_at": row["created_at"],
        "status": row["status"],
        "action": payload["action"],
        "q": payload["q"],
        "by": payload.get("by"),
        "done": f"{done:g}" if total is None else f"{done:g}/{total:g}",
    }


def _print_matching(matching: dict[str, Any]) -> None:
    count, more = matching["matching"], " or more" if matching["more"] else ""
    print(f"{count:,}{more} {'task matches' if count == 1 and not more else 'tasks match'}.")
    for task_id in matching["examples"]:
        print(f"  {clean(task_id)}")
