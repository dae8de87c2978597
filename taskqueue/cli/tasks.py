"""`submit`, `get`, `watch`, `cancel`, `requeue`: one task."""

import argparse
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from taskqueue.cli.client import Client, Row, client_of
from taskqueue.cli.screen import LiveLine, bar, clean, coloured, print_json, print_task
from taskqueue.errors import InvalidSetting
from taskqueue.jobtypes.signature import Json
from taskqueue.store.keys import ENDED


def add(commands: Any) -> None:
    """Add the commands to the parser's."""
    parser = commands.add_parser("submit", help="queue a task", description="Queue a task, and print it.")
    parser.add_argument("task_type", metavar="TYPE", help="what to run")
    parser.add_argument(
        "payload", nargs="?", default="{}", metavar="JSON", help="its payload; @FILE, or @- to read it"
    )
    parser.add_argument("--watch", action="store_true", help="then watch it to its end")
    for option in ("queue", "delay", "at", "attempts", "timeout", "tags", "dedupe"):
        parser.add_argument(f"--{option}", metavar=option.upper(), help="as in POST /tasks")
    parser.set_defaults(run=submit)
    for name, does, help_ in (
        ("get", Client.get, "show a task"),
        ("cancel", Client.cancel, "cancel a task: one that waits at once, one that runs within a second"),
        ("requeue", Client.requeue, "send a task again that failed or was canceled"),
    ):
        parser = commands.add_parser(name, help=help_, description=f"{help_[0].upper()}{help_[1:]}, and print it.")
        parser.add_argument("task_id", metavar="ID")
        parser.set_defaults(run=_one(does))
    parser = commands.add_parser("watch", help="follow a task to its end", description="Follow a task to its end.")
    parser.add_argument("task_id", metavar="ID")
    parser.set_defaults(run=lambda asked: watch(client_of(asked), asked.task_id, as_json=asked.json))


def submit(asked: argparse.Namespace) -> int:
    """Queue a task."""
    client = client_of(asked)
    named = {
        name: getattr(asked, name) for name in ("queue", "delay", "at", "attempts", "timeout", "tags", "dedupe")
    }
    options = {name: value for name, value in named.items() if value is not None}
    task = client.submit(asked.task_type, _payload(asked.payload), options)
    if asked.watch:
        return watch(client, task["id"], as_json=asked.json)
    _show(asked, task)
    return 0


def watch(client: Client, task_id: str, *, as_json: bool) -> int:
    """Tell each change, and each line that its job says, until the task has ended; 0 if it is complete."""
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
    run = f" (attempt {task['attempt']} of {task['attempts']})" if task["attempt"] > 1 else ""
    progress = task.get("progress")
    told = f" {bar(progress['done'], progress['total'], clean(progress['message']))}" if progress else ""
    return f"{clean(task['type'])} {coloured(task['status'])}{run}{told}"


def _one(does: Callable[[Client, str], Row]) -> Callable[[argparse.Namespace], int]:
    def run(asked: argparse.Namespace) -> int:
        _show(asked, getattr(client_of(asked), does.__name__)(asked.task_id))
        return 0

    return run


def _show(asked: argparse.Namespace, task: Row) -> None:
    (print_json if asked.json else print_task)(task)


def _payload(text: str) -> Json:
    try:
        if text.startswith("@"):
            text = sys.stdin.read() if text == "@-" else Path(text[1:]).read_text(encoding="utf-8")
        return json.loads(text)
    except OSError as error:
        raise InvalidSetting(f"The file {text[1:]!r} cannot be read: {error.strerror}.") from None
    except ValueError as error:
        raise InvalidSetting(f'The payload is not JSON: {error}. Write \'{{"name": "value"}}\'') from None
