"""How an answer looks: words, tables and colour on a terminal, JSON for a program."""

import json
import os
import sys
from collections.abc import Mapping, Sequence
from typing import Any

COLOURS = {"complete": "32", "failed": "31", "canceled": "33", "processing": "36", "ok": "32", "wrong": "31"}
BAR_CHARACTERS = 30


def print_json(value: Any) -> None:
    """For a program."""
    print(json.dumps(value, ensure_ascii=False, indent=2 if sys.stdout.isatty() else None))


def coloured(word: str) -> str:
    """The word in the colour that it has, where standard output is a terminal (no-color.org)."""
    code = COLOURS.get(word)
    wanted = sys.stdout.isatty() and not os.environ.get("NO_COLOR")
    return f"\033[{code}m{word}\033[0m" if code and wanted else word


def print_over(line: str, *, stays: bool = True) -> None:
    """A line in the place of one that does not stay; where standard output is no terminal, all stay."""
    if sys.stdout.isatty():
        print(f"\r\033[K{line}", end="\n" if stays else "", flush=True)
    elif line:
        print(line, flush=True)


def print_task(task: Mapping[str, Any]) -> None:
    """A task in a few lines."""
    print(f"{task['id']}  {task['type']}  {coloured(task['status'])}")
    for name in ("queue", "created_at", "scheduled_for", "started_at", "ended_at", "worker", "payload", "result"):
        if task.get(name) is not None:
            value = task[name]
            print(f"  {name:14}{value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)}")
    print(f"  {'attempt':14}{task['attempt']} of {task['attempts']}")
    if task.get("error"):
        print(f"  {'error':14}{task['error']['type']}: {task['error']['message']}")
    for warning in task.get("warnings", ()):
        print(f"  {'warning':14}{warning['message']}")


def flat(row: Mapping[str, Any], inner: str) -> dict[str, Any]:
    """A row with the fields of one of its fields in the place of that one."""
    return {name: value for name, value in row.items() if name != inner} | dict(row[inner])


def print_table(rows: Sequence[Mapping[str, Any]], none: str) -> None:
    """Rows with the same fields; `none` is said where there are none."""
    if not rows:
        print(none)
        return
    shown = [{name: _cell(value) for name, value in row.items() if not isinstance(value, dict)} for row in rows]
    widths = {name: max(len(name), *(len(row.get(name, "")) for row in shown)) for name in shown[0]}
    for row in [{name: name for name in widths}, *shown]:
        print("  ".join(row.get(name, "").ljust(width) for name, width in widths.items()).rstrip())


def _cell(value: Any) -> str:
    if isinstance(value, list):
        return ",".join(map(str, value))
    return "" if value is None else str(value)


def bar(done: float, total: float | None, message: str) -> str:
    """`[######------] 3/10 resizing`."""
    if not total:
        return f"{done:g} {message}".rstrip()
    full = round(BAR_CHARACTERS * min(max(done / total, 0), 1))
    return f"[{'#' * full}{'-' * (BAR_CHARACTERS - full)}] {done:g}/{total:g} {message}".rstrip()
