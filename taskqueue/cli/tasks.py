"""The commands for one task: `submit`, `get`, `watch`, `cancel`, `requeue`."""

import argparse
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from taskqueue.cli.client import Client, Row, client_for
from taskqueue.cli.parser import add_command
from taskqueue.cli.screen import LiveLine, bar, coloured, print_json, print_task
from taskqueue.errors import InvalidSetting
from taskqueue.jobtypes.signature import Json
from taskqueue.store.keys import ENDED
from taskqueue.telemetry.clean import clean

ID = "5c1f7c1e-8d0b-4f7e-9a0e-2b7d4c1f0a11"  # in examples
OPTIONS = {
    "queue": ("NAME", "the queue, instead of the task type's own"),
    "delay": ("SECONDS", "how long the task waits before it may begin"),
    "at": ("TIME", "when the task may begin, with its time zone: 2026-12-24T18:00:00Z"),
    "attempts": ("NUMBER", "how often the task is tried, the first time included"),
    "timeout": ("SECONDS", "how long one attempt may take"),
    "tags": ("TAG,TAG", "names to find the task by"),
    "dedupe": ("KEY", "while a task of this type with the same key waits or runs, queue no other one"),
}


def add(commands: Any) -> None:
    """Add the commands to the parser."""
    _add_submit(commands)
    _add_for_id(
        commands,
        "get",
        "show a task",
        "Show a task: its status, its times, its payload and its result or error.",
    ).set_defaults(run=_run(Client.get))
    _add_for_id(
        commands,
        "watch",
        "follow a task until it has ended",
        "Follow a task until it has ended: print each change of its status and progress, and each line that its"
        " job logs or prints. The exit code is 0 if the task is complete, and 1 if it failed or was canceled.",
    ).set_defaults(run=lambda args: watch(client_for(args), args.task_id, as_json=args.json))
    _add_for_id(
        commands,
        "cancel",
        "cancel a task",
        "Cancel a task, and show it. A task that waits is canceled at once; a running one is stopped within a"
        " second.",
    ).set_defaults(run=_run(Client.cancel))
    _add_for_id(
        commands,
        "requeue",
        "queue a failed or canceled task again",
        "Queue a task again that failed or was canceled, and show it. It keeps its id and has all attempts again.",
    ).set_defaults(run=_run(Client.requeue))


def _add_submit(commands: Any) -> None:
    parser = add_command(
        commands,
        "submit",
        "queue a task",
        "Queue a task, and show it. The payload must fit the task type's signature: GET /task-types describes"
        " each.",
        examples=[
            """submit email '{"to": "ada@example.com", "subject": "Welcome", "body": "Hello"}' --watch""",
            "submit generic @payload.json --queue high --delay 60 --tags nightly,eu",
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
    parser.add_argument("--watch", action="store_true", help="then follow the task until it has ended")
    for name, (metavar, help_) in OPTIONS.items():
        parser.add_argument(f"--{name}", metavar=metavar, help=help_)
    parser.set_defaults(run=submit)


def _add_for_id(commands: Any, name: str, summary: str, description: str) -> argparse.ArgumentParser:
    parser = add_command(commands, name, summary, description, examples=[f"{name} {ID}"])
    parser.add_argument("task_id", metavar="ID", help="the id of the task, as `submit` printed it")
    return parser


def submit(args: argparse.Namespace) -> int:
    """Queue a task."""
    client = client_for(args)
    options = {name: getattr(args, name) for name in OPTIONS if getattr(args, name) is not None}
    task = client.submit(args.task_type, _payload(args.payload), options)
    if args.watch:
        return watch(client, task["id"], as_json=args.json)
    _show(args, task)
    return 0


def watch(client: Client, task_id: str, *, as_json: bool) -> int:
    """Print each change and log line of a task until it has ended; return 0 if it is complete."""
    live = LiveLine()
    task: Row = {}
    try:
        for event, row in client.follow(task_id):
            if event != "log":
                task = row
            if as_json:
                continue
            if event == "log":
                live.print_above(f"  {row['level']:8}{row['line']}")
            elif row["status"] not in ENDED:
                live.show(_line(row))
    finally:
        live.clear()
    (print_json if as_json else print_task)(task)
    return 0 if task["status"] == "complete" else 1


def _line(task: Row) -> str:
    attempt = f" (attempt {task['attempt']} of {task['attempts']})" if task["attempt"] > 1 else ""
    progress = task.get("progress")
    shown = f" {bar(progress['done'], progress['total'], clean(progress['message']))}" if progress else ""
    return f"{clean(task['type'])} {coloured(task['status'])}{attempt}{shown}"


def _run(operation: Callable[[Client, str], Row]) -> Callable[[argparse.Namespace], int]:
    def run(args: argparse.Namespace) -> int:
        _show(args, getattr(client_for(args), operation.__name__)(args.task_id))
        return 0

    return run


def _show(args: argparse.Namespace, task: Row) -> None:
    (print_json if args.json else print_task)(task)


def _payload(text: str) -> Json:
    try:
        if text.startswith("@"):
            text = sys.stdin.read() if text == "@-" else Path(text[1:]).read_text(encoding="utf-8")
        return json.loads(text.removeprefix("\ufeff"))  # a byte order mark, as editors on Windows write it
    except OSError as error:
        raise InvalidSetting(f"The file {text[1:]!r} cannot be read: {error.strerror}.") from None
    except ValueError as error:
        raise InvalidSetting(f'The payload is not JSON: {error}. Write \'{{"name": "value"}}\'') from None
