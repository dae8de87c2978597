"""The commands for one task: `submit`, `get`, `explain`, `logs`, `parents`, `cancel`, `requeue`, `delete`."""

import argparse
import json
from typing import Any

from taskqueue.cli.operations import Row, operations_for
from taskqueue.cli.parser import ID, add_command, add_id, idempotency_key, json_argument, number
from taskqueue.cli.screen import chosen, coloured, print_indented, print_json, print_log, print_table, print_task
from taskqueue.cli.watch import watch
from taskqueue.telemetry.clean import clean

OPTIONS = {
    "queue": ("NAME", "the queue, instead of the task type's own"),
    "delay": ("SECONDS", "how long the task waits before it may begin"),
    "at": ("TIME", "when the task may begin, with its time zone: 2026-12-24T18:00:00Z"),
    "attempts": ("NUMBER", "how often the task is tried, the first time included"),
    "timeout": ("SECONDS", "how long one attempt may take"),
    "expires-in": ("SECONDS", "how long the task may wait before it begins: then it is dropped"),
    "depends-on": ("ID,ID", "the tasks that must complete first"),
    "tags": ("TAG,TAG", "names to find the task by"),
    "dedupe": ("KEY", "while a task of this type with the same key waits or runs, queue no other one"),
    "callback-url": ("URL", "the URL that gets a POST when the task has ended"),
}


def add(commands: Any) -> None:
    """Add the commands to the parser."""
    _add_submit(commands)
    _add_get(commands)
    _add_explain(commands)
    _add_logs(commands)
    _add_parents(commands)
    _add_changes(commands)


def _add_submit(commands: Any) -> None:
    parser = add_command(
        commands,
        "submit",
        "queue a task",
        "Queue a task, and show it with reasons why it may not run soon. The payload must fit the task type's"
        " signature: `types TYPE` describes it.",
        submit,
        examples=[
            """submit email '{"to": "ada@example.com", "subject": "Welcome", "body": "Hello"}' --watch""",
            "submit generic @payload.json --queue high --delay 60 --tags nightly,eu",
            f"submit generic --depends-on {ID} --allow-failure",
            "submit generic --idempotency-key order-4711 --wait 30 --json",
        ],
    )
    parser.add_argument("task_type", metavar="TYPE", help="the task type: what to run")
    parser.add_argument(
        "payload",
        nargs="?",
        default="{}",
        metavar="JSON",
        help="the payload, a JSON object; @FILE reads it from a file, @- from standard input (default: {})",
    )
    for name, (metavar, help_) in OPTIONS.items():
        parser.add_argument(f"--{name}", metavar=metavar, help=help_)
    parser.add_argument("--priority", choices=["front"], help="run it before everything that waits in its queue")
    parser.add_argument("--allow-failure", action="store_true", help="the tasks in --depends-on may also fail")
    parser.add_argument(
        "--idempotency-key",
        type=idempotency_key,
        metavar="KEY",
        help="within 24 hours the same submission with the same key queues one task",
    )
    ends = parser.add_mutually_exclusive_group()
    ends.add_argument("--watch", action="store_true", help="then follow the task until it has ended")
    ends.add_argument(
        "--wait",
        type=float,
        metavar="SECONDS",
        help="then wait so long for its end, and show it; the exit code is 1 unless it is complete",
    )


def _add_get(commands: Any) -> None:
    add_id(
        add_command(
            commands,
            "get",
            "show a task",
            "Show a task: its status, its times, its payload and its result or error.",
            get,
            examples=[f"get {ID}"],
        )
    )


def _add_explain(commands: Any) -> None:
    add_id(
        add_command(
            commands,
            "explain",
            "say why a task does not run, or how it ended",
            "Say why a task does not run, what is ahead of it and how to let it run; or how it ended.",
            explain,
            examples=[f"explain {ID}"],
        )
    )


def _add_logs(commands: Any) -> None:
    parser = add_command(
        commands,
        "logs",
        "show what a task's job logged and printed",
        "Show what a task's job has logged and printed, oldest line first: about the last thousand lines."
        " `watch` follows a task that runs.",
        logs,
        examples=[f"logs {ID}", f"logs {ID} --attempt 2"],
    )
    add_id(parser)
    parser.add_argument("--attempt", type=number, metavar="NUMBER", help="only the lines of this attempt")


def _add_parents(commands: Any) -> None:
    add_id(
        add_command(
            commands,
            "parents",
            "list the tasks that a task waits for",
            "List the tasks that a task waits for, or has waited for, with their results: those in its"
            " --depends-on, or those of its batch.",
            parents,
            examples=[f"parents {ID}", f"parents {ID} --json"],
        )
    )


def _add_changes(commands: Any) -> None:
    for name, summary, description, run in (
        (
            "cancel",
            "cancel a task",
            "Cancel a task, and show it. A task that waits is canceled at once; a running one is stopped within a"
            " second.",
            cancel,
        ),
        (
            "requeue",
            "queue a failed or canceled task again",
            "Queue a task again that failed or was canceled, and show it. It keeps its id and has all attempts"
            " again.",
            requeue,
        ),
        (
            "delete",
            "delete a task",
            "Delete the payload, the result, the errors and the log of a task. Cancel one that runs first.",
            delete,
        ),
    ):
        add_id(add_command(commands, name, summary, description, run, examples=[f"{name} {ID}"]))


def submit(args: argparse.Namespace) -> int:
    """Queue a task."""
    operations = operations_for(args)
    given = {name.replace("-", "_"): getattr(args, name.replace("-", "_")) for name in (*OPTIONS, "priority")}
    options = {name: value for name, value in given.items() if value is not None}
    if args.allow_failure:
        options["allow_failure"] = "true"
    task = operations.submit(args.task_type, json_argument(args.payload, "payload"), options, args.idempotency_key)
    if args.watch:
        return watch(operations, task["id"], as_json=args.json)
    if args.wait is None:
        return _show(args, task)
    ended = operations.wait(task["id"], args.wait)
    _show(args, ended)
    return 0 if ended["status"] == "complete" else 1


def get(args: argparse.Namespace) -> int:
    """Show a task."""
    return _show(args, operations_for(args).get(args.task_id))


def cancel(args: argparse.Namespace) -> int:
    """Cancel a task."""
    return _show(args, operations_for(args).cancel(args.task_id))


def requeue(args: argparse.Namespace) -> int:
    """Queue a task again."""
    return _show(args, operations_for(args).requeue(args.task_id))


def delete(args: argparse.Namespace) -> int:
    """Delete a task."""
    operations_for(args).delete(args.task_id)
    print_json({"id": args.task_id, "deleted": True}) if args.json else print(
        f"Task {clean(args.task_id)} is deleted."
    )
    return 0


def parents(args: argparse.Namespace) -> int:
    """List the tasks that a task waits for."""
    rows = operations_for(args).parents(args.task_id)
    print_json(rows) if args.json else print_table([_short(row) for row in rows], "It waits for no task.")
    return 0


def _short(row: Row) -> Row:
    """Return what a table shows of a parent."""
    error = row["error"]
    return {
        **chosen([row], ("id", "type", "status"))[0],
        "result": None if row["result"] is None else json.dumps(row["result"], ensure_ascii=False),
        "error": error and f"{error['type']}: {error['message']}",
    }


def explain(args: argparse.Namespace) -> int:
    """Say why a task does not run, or how it ended."""
    explanation = operations_for(args).explain(args.task_id)
    if args.json:
        print_json(explanation)
        return 0
    print(f"{clean(explanation['id'])}  {coloured(explanation['status'])}")
    for reason in explanation["reasons"]:
        print_indented(clean(reason["message"]), 2)
    return 0


def logs(args: argparse.Namespace) -> int:
    """Show the log of a task."""
    rows = operations_for(args).logs(args.task_id, args.attempt)
    print_json(rows) if args.json else print_log(rows)
    return 0


def _show(args: argparse.Namespace, task: Row) -> int:
    (print_json if args.json else print_task)(task)
    return 0
