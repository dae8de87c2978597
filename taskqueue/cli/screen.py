"""Prints answers: text, tables and colour on a terminal, JSON for a program."""

import json
import os
import shutil
import sys
import textwrap
from collections.abc import Mapping, Sequence
from threading import RLock
from typing import Any

from taskqueue.telemetry.clean import clean

COLOURS = {"complete": "32", "failed": "31", "canceled": "33", "processing": "36", "ok": "32", "wrong": "31"}
BAR_CHARACTERS = 30


def print_json(value: Any) -> None:
    """Print a value as JSON, for a program."""
    print(json.dumps(value, ensure_ascii=False, indent=2 if sys.stdout.isatty() else None))


def coloured(word: str) -> str:
    """Return a status in its colour if standard output is a terminal and NO_COLOR is not set (no-color.org)."""
    code = COLOURS.get(word)
    with_colour = sys.stdout.isatty() and not os.environ.get("NO_COLOR")
    return f"\033[{code}m{word}\033[0m" if code and with_colour else word


def columns() -> int:
    """Return how many characters fit into a line of standard output: any number where it is not a terminal."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else sys.maxsize


def print_indented(text: str, margin: int, heading: str = "") -> None:
    """Print text behind a margin, wrapped to the terminal between words; a no-break space joins two words.

    `heading` is printed in place of the first margin, and is as wide on the screen.
    """
    lines = textwrap.wrap(text, max(1, columns() - margin), break_long_words=False, break_on_hyphens=False)
    for line in lines or [""]:
        print(f"{heading or ' ' * margin}{line}".replace("\N{NO-BREAK SPACE}", " "))
        heading = ""


class LiveLine:
    """The last line of a terminal, which changes in place under the others. In a pipe, each state is a line."""

    def __init__(self) -> None:
        self._line = ""
        self._lock = RLock()  # watch.py shows from two threads

    @property
    def changes(self) -> bool:
        """Whether the line changes in place: standard output is a terminal."""
        return sys.stdout.isatty()

    def show(self, line: str) -> None:
        """Replace the live line; nothing happens if it is the same."""
        with self._lock:
            if line == self._line:
                return
            self._line = line
            if self.changes:
                self._draw()
            else:
                print(line, flush=True)

    def print_above(self, text: str) -> None:
        """Print a line that stays, above the live line."""
        with self._lock:
            if self.changes:
                print(f"\r\033[K{clean(text)}")
                self._draw()
            else:
                print(clean(text), flush=True)

    def clear(self) -> None:
        """Remove the live line."""
        with self._lock:
            if self.changes:
                self._line = ""
                self._draw()

    def _draw(self) -> None:
        # Not wrapped (DECAWM): if one line became two, only the second would be overwritten.
        print(f"\r\033[K\033[?7l{self._line}\033[?7h", end="", flush=True)


def print_task(task: Mapping[str, Any]) -> None:
    """Print a task, one field a line."""
    print(f"{clean(task['id'])}  {clean(task['type'])}  {coloured(task['status'])}")
    for name in ("queue", "created_at", "scheduled_for", "started_at", "ended_at", "worker", "payload", "result"):
        value = task.get(name)
        if value is not None:
            text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
            print(f"  {name:14}{clean(text)}")
    print(f"  {'attempt':14}{task['attempt']} of {task['attempts']}")
    if task.get("sent_by"):
        print(f"  {'sent by':14}{clean(task['sent_by'])}")
    for run in task.get("runs", ()):
        began, ended = (clean(run[name] or "?") for name in ("started_at", "ended_at"))
        end = f"{clean(run['outcome'])} {ended}" if run["outcome"] else "runs"
        place = " ".join(clean(run[name]) for name in ("worker", "release") if run[name])
        print(f"  {'run ' + str(run['attempt'] or ''):14}{began}  {end}  {place}".rstrip())
    if task.get("error"):
        print(f"  {'error':14}{clean(task['error']['type'])}: {clean(task['error']['message'])}")
    for warning in task.get("warnings", ()):
        print(f"  {'warning':14}{clean(warning['message'])}")


def print_fields(title: str, row: Mapping[str, Any]) -> None:
    """Print the fields of an object below a title, one a line; leave out those that are null or the title."""
    print(clean(title))
    width = max(len(name) for name in row) + 2
    for name, value in row.items():
        if value is not None and value != title:
            text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
            for line in text.splitlines() or [""]:
                print(f"  {name:{width}}{clean(line)}")
                name = ""


def print_log(lines: Sequence[Mapping[str, Any]]) -> None:
    """Print the lines of a log; a heading separates attempts, if there are several."""
    attempts = {line["attempt"] for line in lines}
    attempt = None
    for line in lines:
        if len(attempts) > 1 and line["attempt"] != attempt:
            attempt = line["attempt"]
            print(f"attempt {attempt}")
        print(f"  {clean(line['level']):8}{clean(line['line'])}")


def chosen(rows: Sequence[Mapping[str, Any]], names: Sequence[str]) -> list[dict[str, Any]]:
    """Return these fields of the rows, in this order."""
    return [{name: row.get(name) for name in names} for row in rows]


def flat(row: Mapping[str, Any], inner: str) -> dict[str, Any]:
    """Return a row in which the fields of the object `inner` replace that object."""
    return {
        name: value
        for field, kept in row.items()
        for name, value in (kept.items() if field == inner else [(field, kept)])
    }


def print_table(rows: Sequence[Mapping[str, Any]], if_empty: str) -> None:
    """Print rows with the same fields as a table; without rows, print `if_empty`.

    On a terminal that is too narrow for the table, each row is a paragraph, so that no id is cut.
    """
    if not rows:
        print(if_empty)
        return
    cells = [{name: _cell(value) for name, value in row.items() if not isinstance(value, dict)} for row in rows]
    widths = {name: max(len(name), *(len(row.get(name, "")) for row in cells)) for name in cells[0]}
    if sum(widths.values()) + 2 * (len(widths) - 1) > columns():
        for row in cells:
            _print_paragraph(row)
        return
    for row in [{name: name for name in widths}, *cells]:
        print("  ".join(_padded(row.get(name, ""), width) for name, width in widths.items()).rstrip())


def _padded(cell: str, width: int) -> str:
    return coloured(cell) + " " * (width - len(cell))


def _print_paragraph(row: Mapping[str, str]) -> None:
    title, *fields = row.items()
    words = [f"{name}:\N{NO-BREAK SPACE}{value.replace(',', ', ')}" for name, value in fields if value]
    print(title[1])
    print_indented("  ".join(words), 2)


def _cell(value: Any) -> str:
    if isinstance(value, list):
        return clean(",".join(map(str, value)))
    return "" if value is None else clean(str(value))


def bar(done: float, total: float | None, message: str) -> str:
    """Return a progress bar: `[######------] 3/10 resizing`; without a total: `3 resizing`."""
    if not total:
        return f"{done:g} {message}".rstrip()
    filled = round(BAR_CHARACTERS * min(max(done / total, 0), 1))
    return f"[{'#' * filled}{'-' * (BAR_CHARACTERS - filled)}] {done:g}/{total:g} {message}".rstrip()
