"""The commands for batches: `submit-many`, `batches`."""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from taskqueue.cli.operations import Row, operations_for
from taskqueue.cli.parser import add_command, idempotency_key, json_argument
from taskqueue.cli.screen import print_json, print_table
from taskqueue.errors import InvalidSetting
from taskqueue.jobtypes.signature import Json
from taskqueue.telemetry.clean import clean

ID = "3f0a1c9b7d524e6f8a1b2c3d4e5f6071"  # in examples


def add(commands: Any) -> None:
    """Add the commands to the parser."""
    parser = add_command(
        commands,
        "submit-many",
        "queue many tasks in one transaction",
        "Queue up to 10,000 tasks in one transaction, as a batch that counts them. The file has a JSON array of"
        ' tasks, or one task a line: {"task_type": "email", "payload": {...}, "tags": ["welcome"]}, with the'
        " options of `submit` as fields. If one task is wrong, none is queued.",
        submit_many,
        examples=[
            "submit-many tasks.ndjson",
            """submit-many - --then '{"task_type": "report"}' < tasks.json""",
            "submit-many tasks.ndjson --partial --idempotency-key import-4711 --json",
        ],
    )
    parser.add_argument("file", metavar="FILE", help="the file with the tasks; -: standard input")
    parser.add_argument(
        "--then", metavar="JSON", help="one more task, which runs when all others have ended; @FILE reads it"
    )
    parser.add_argument(
        "--partial",
        action="store_true",
        help="queue the tasks that are right also if others are wrong: exit code 1",
    )
    parser.add_argument(
        "--idempotency-key",
        type=idempotency_key,
        metavar="KEY",
        help="within 24 hours the same submission with the same key queues one batch",
    )
    parser = add_command(
        commands,
        "batches",
        "list batches, or show one",
        "List the latest 20 batches, or show one: how many of its tasks have ended, and how.",
        batches,
        examples=["batches", f"batches {ID}"],
    )
    parser.add_argument("batch_id", nargs="?", metavar="ID", help="the id of a batch (default: list the latest)")


def submit_many(args: argparse.Namespace) -> int:
    """Queue many tasks."""
    then = None if args.then is None else json_argument(args.then, "task in --then")
    answer = operations_for(args).submit_many(
        _tasks(args.file), then, args.idempotency_key, atomic=not args.partial
    )
    if args.json:
        print_json(answer)
    else:
        _print_answer(answer)
    return 1 if answer["refused"] else 0


def _tasks(file: str) -> list[Json]:
    """Return the tasks of a file. Raises `InvalidSetting`."""
    try:
        text = sys.stdin.read() if file == "-" else Path(file).read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidSetting(f"The file {file!r} cannot be read: {getattr(error, 'strerror', error)}.") from None
    if text.lstrip().startswith("["):
        tasks = json_argument(text, "list of tasks")
        return tasks if isinstance(tasks, list) else []
    return [
        _task(line, number)
        for number, line in enumerate(text.splitlines(), start=1)
        if line and not line.isspace()
    ]


def _task(line: str, number: int) -> Json:
    try:
        return json.loads(line)
    except ValueError as error:
        raise InvalidSetting(
            f'Line {number} is not JSON: {error}. Write a task a line: {{"task_type": "generic"}}'
        ) from None


def _print_answer(answer: Row) -> None:
    count = answer["queued"]
    print(f"batch {clean(answer['batch'])}: {count:,} {'task is' if count == 1 else 'tasks are'} queued.")
    if answer["on_complete"]:
        print(f"then  {clean(answer['on_complete'])}")
    for number, result in enumerate(answer["results"]):
        for error in result.get("errors", ()):
            print(f"refused /{number}{clean(error['pointer'])}: {clean(error['message'])}")


def batches(args: argparse.Namespace) -> int:
    """List the latest batches, or show one."""
    operations = operations_for(args)
    if args.batch_id is None:
        rows = operations.batches()
        print_json(rows) if args.json else print_table([_short(row) for row in rows], "There are no batches.")
    else:
        row = operations.batch(args.batch_id)
        print_json(row) if args.json else print_table([_short(row)], "")
    return 0


def _short(row: Row) -> Row:
    """Return what a table shows of a batch."""
    counts = row["counts"]
    return {
        "id": row["id"],
        "created_at": row["created_at"],
        "ended_at": row["ended_at"],
        "total": row["total"],
        "ended": row["ended"],
        **{status: counts[status] for status in ("complete", "failed", "canceled", "processing")},
        "waiting": sum(counts[status] for status in ("queued", "scheduled", "deferred")),
        "then": row["on_complete"],
    }
