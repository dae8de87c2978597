"""The command `schedules`: lists schedules, and changes them."""

import argparse
from typing import Any

from taskqueue.cli.operations import Row, operations_for
from taskqueue.cli.parser import add_command, json_argument, number
from taskqueue.cli.screen import print_fields, print_json, print_table, print_task
from taskqueue.errors import InvalidSetting
from taskqueue.telemetry.clean import clean

OPTIONS: dict[str, tuple[str, Any, str]] = {
    "cron": ("EXPRESSION", str, "minute, hour, day, month, weekday: '30 2 * * 1-5'"),
    "interval": ("SECONDS", number, "from one run to the next"),
    "timezone": ("ZONE", str, "of --cron: Europe/Berlin (default: UTC)"),
    "queue": ("NAME", str, "the queue, instead of the task type's own"),
    "attempts": ("NUMBER", number, "how often a task is tried, the first time included"),
    "timeout": ("SECONDS", number, "how long one attempt may take"),
    "expires-in": ("SECONDS", float, "how long a task may wait before it begins: then it is dropped"),
    "tags": ("TAG,TAG", str, "names to find the tasks by"),
    "callback-url": ("URL", str, "the URL that gets a POST when a task has ended"),
}
CHOICES = {
    "overlap": (("skip", "queue", "replace"), "what to do while the last run waits or runs (default: skip)"),
    "catch-up": (
        ("skip", "once", "all"),
        "which runs to make up for that no worker was there for (default: once)",
    ),
    "priority": (("front",), "run before everything that waits in the queue"),
}


def add(commands: Any) -> None:
    """Add the command to the parser."""
    parser = add_command(
        commands,
        "schedules",
        "list schedules, and change them",
        "List the schedules: tasks that are queued again and again. With ACTION, change one of them.",
        every,
        examples=[
            "schedules",
            """schedules put nightly sync '{"source": "https://example.com/a.csv", "table": "a", "key": "id"}' """
            "--cron '30 2 * * *'",
            "schedules put nightly --file nightly.json",
            "schedules run nightly",
        ],
    )
    actions = parser.add_subparsers(metavar="ACTION", title="actions")
    add_command(actions, "list", "list all schedules", "List all schedules.", every, examples=["schedules list"])
    _add_put(actions)
    for name, summary, run in (
        ("show", "show a schedule", show),
        ("run", "queue a schedule's task now, besides its times", run_now),
        ("pause", "stop a schedule from running until it is resumed", pause),
        ("resume", "let a paused schedule run again; missed runs are not caught up", resume),
        ("delete", "delete a schedule; tasks that it has queued stay", delete),
    ):
        description = f"{summary[0].upper()}{summary[1:]}."
        action = add_command(actions, name, summary, description, run, examples=[f"schedules {name} nightly"])
        action.add_argument("name", metavar="NAME", help="the name of the schedule")


def _add_put(actions: Any) -> None:
    parser = add_command(
        actions,
        "put",
        "create or replace a schedule",
        "Create or replace a schedule: from options, or from a JSON file such as PUT /schedules/NAME takes."
        " One that is sent again unchanged keeps its next run.",
        put,
        examples=[
            "schedules put hourly generic --interval 3600 --overlap replace",
            "schedules put nightly --file nightly.json --timezone Europe/Berlin",
        ],
    )
    parser.add_argument("name", metavar="NAME", help="up to 50 lower-case letters, digits, - and _")
    parser.add_argument("task_type", nargs="?", metavar="TYPE", help="the task type: what to run")
    parser.add_argument(
        "payload", nargs="?", metavar="JSON", help="the payload, a JSON object; @FILE or @- reads it (default: {})"
    )
    parser.add_argument("--file", metavar="FILE", help="the file to read the schedule from; -: standard input")
    for name, (metavar, kind, help_) in OPTIONS.items():
        parser.add_argument(f"--{name}", type=kind, metavar=metavar, help=help_)
    for name, (choices, help_) in CHOICES.items():
        parser.add_argument(f"--{name}", choices=choices, help=help_)


def every(args: argparse.Namespace) -> int:
    """List all schedules."""
    rows = operations_for(args).schedules()
    print_json(rows) if args.json else print_table([_short(row) for row in rows], "There are no schedules.")
    return 0


def put(args: argparse.Namespace) -> int:
    """Create or replace a schedule."""
    document = json_argument(f"@{args.file}", "schedule") if args.file else {}
    if not isinstance(document, dict):
        raise InvalidSetting(
            'The schedule is not a JSON object. Write \'{"task_type": "email", "cron": "0 7 * * *"}\''
        )
    fields = ("task_type", *(name.replace("-", "_") for name in (*OPTIONS, *CHOICES)))
    document |= {name: value for name in fields if (value := getattr(args, name)) is not None}
    if args.payload is not None:
        document["payload"] = json_argument(args.payload, "payload")
    return _show(args, operations_for(args).put_schedule(args.name, document))


def show(args: argparse.Namespace) -> int:
    """Show a schedule."""
    row = operations_for(args).show_schedule(args.name)
    print_json(row) if args.json else print_fields(row["name"], row)
    return 0


def run_now(args: argparse.Namespace) -> int:
    """Queue a schedule's task now."""
    (print_json if args.json else print_task)(operations_for(args).run_schedule(args.name))
    return 0


def pause(args: argparse.Namespace) -> int:
    """Pause a schedule."""
    return _show(args, operations_for(args).change_schedule(args.name, "pause"))


def resume(args: argparse.Namespace) -> int:
    """Resume a schedule."""
    return _show(args, operations_for(args).change_schedule(args.name, "resume"))


def delete(args: argparse.Namespace) -> int:
    """Delete a schedule."""
    operations_for(args).delete_schedule(args.name)
    if args.json:
        print_json({"name": args.name, "deleted": True})
    else:
        print(f"The schedule {clean(args.name)!r} is deleted.")
    return 0


def _show(args: argparse.Namespace, row: Row) -> int:
    print_json(row) if args.json else print_table([_short(row)], "")
    return 0


def _short(row: Row) -> Row:
    """Return what a table shows of a schedule."""
    return {
        "name": row["name"],
        "task_type": row["task_type"],
        "when": f"{row['cron']} {row['timezone']}" if row["cron"] else f"each {row['interval']} s",
        "next_run": "paused" if row["paused"] else next(iter(row["next_runs"]), None),
        "last_run": row["last_run"] and row["last_run"]["at"],
        "runs": row["runs"],
        "error": row["error"],
    }
