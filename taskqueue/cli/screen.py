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


def clean(text: str) -> str:
    """The text in one line that no terminal takes for a command: a job, or whoever queued it, has written it."""
    return "".join(one if one.isprintable() else "\ufffd" for one in " ".join(text.splitlines()).expandtabs())


class LiveLine:
    """The last line, which changes in its place while others are printed above it. Without a terminal all stay."""

    def __init__(self) -> None:
        self._line = ""

    def show(self, line: str) -> None:
        """Put this in its place."""
        if line == self._line:
            return
        self._line = line
        if sys.stdout.isatty():
            self._draw()
        else:
            print(line, flush=True)

    def print_above(self, text: str) -> None:
        """A line that stays."""
        if sys.stdout.isatty():
            print(f"\r\033[K{clean(text)}")
            self._draw()
        else:
            print(clean(text), flush=True)

    def clear(self) -> None:
        """Take it away."""
        if sys.stdout.isatty():
            self._line = ""
            self._draw()

    def _draw(self) -> None:
        # Not wrapped (DECAWM): of a line that has become two, only the second would be drawn over.
        print(f"\r\033[K\033[?7l{self._line}\033[?7h", end="", flush=True)


def print_task(task: Mapping[str, Any]) -> None:
    """A task in a few lines."""
    print(f"{clean(task['id'])}  {clean(task['type'])}  {coloured(task['status'])}")
    for name in ("queue", "created_at", "scheduled_for", "started_at", "ended_at", "worker", "payload", "result"):
        value = task.get(name)
        if value is not None:
            text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
            print(f"  {name:14}{clean(text)}")
    print(f"  {'attempt':14}{task['attempt']} of {task['attempts']}")
    if task.get("error"):
        print(f"  {'error':14}{clean(task['error']['type'])}: {clean(task['error']['message'])}")
    for warning in task.get("warnings", ()):
        print(f"  {'warning':14}{clean(warning['message'])}")


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
        return clean(",".join(map(str, value)))
    return "" if value is None else clean(str(value))


def bar(done: float, total: float | None, message: str) -> str:
    """`[######------] 3/10 resizing`."""
    if not total:
        return f"{done:g} {message}".rstrip()
    full = round(BAR_CHARACTERS * min(max(done / total, 0), 1))
    return f"[{'#' * full}{'-' * (BAR_CHARACTERS - full)}] {done:g}/{total:g} {message}".rstrip()
