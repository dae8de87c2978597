"""How pages show times, durations, numbers, sizes and errors."""

import re
from datetime import UTC, datetime, timedelta

from flask import Blueprint
from markupsafe import Markup, escape

UNITS = ((86_400, "d"), (3600, "h"), (60, "min"))
ERROR = re.compile(r"(?:[\w<>]+\.)*(\w+):? ?(.*)", re.DOTALL)  # its type, with its module, and its message
TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?Z")


def register(blueprint: Blueprint) -> None:
    """Add the functions of this file as filters of the templates."""
    for function in (ago, until, clock, duration, number, size, words, short, error, times):
        blueprint.add_app_template_filter(function, f"console_{function.__name__}")


def duration(seconds: float | None) -> str:
    """Return a duration with two units at most: "3 ms", "1.4 s", "12 min 5 s", "2 d 3 h"; None: "–"."""
    if seconds is None:
        return "–"
    if seconds < 0.001:
        return "< 1 ms" if seconds > 0 else "0 s"
    if seconds < 1:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 10:
        return f"{seconds:.1f} s"
    left = round(seconds)
    parts = []
    for unit, name in UNITS:
        count, left = divmod(left, unit)
        if count:
            parts.append(f"{count} {name}")
    if left:
        parts.append(f"{left} s")
    return " ".join(parts[:2])


def ago(time: datetime | None) -> Markup:
    """Return how long ago a time was, with the time itself for machines and as a hint."""
    if time is None:
        return Markup("–")
    seconds = (datetime.now(UTC) - time).total_seconds()
    text = (
        "just now" if -1 < seconds < 1 else f"{_rough(seconds)} ago" if seconds > 0 else f"in {_rough(-seconds)}"
    )
    return _time(time, text)


def until(time: datetime | None) -> Markup:
    """Return in how long a time comes: "in 5 min"."""
    return ago(time)


def clock(time: datetime | None) -> Markup:
    """Return a time of the last or next hours as "14:03:05", another one with its date, in UTC."""
    if time is None:
        return Markup("–")
    form = "%H:%M:%S" if abs(datetime.now(UTC) - time) < timedelta(hours=20) else "%Y-%m-%d %H:%M:%S"
    return _time(time, time.astimezone(UTC).strftime(form))


def number(value: float | None) -> str:
    """Return a number with commas: "1,203"; None: "–"."""
    if value is None:
        return "–"
    return f"{value:,.0f}" if value == int(value) else f"{value:,.1f}"


def size(count: int | None) -> str:
    """Return a number of bytes: "12 kB", "85 MiB"; None: "–"."""
    if count is None:
        return "–"
    if count < 1024:
        return f"{count} B"
    for unit, name in ((2**30, "GiB"), (2**20, "MiB")):
        if count >= unit:
            return f"{count / unit:,.1f} {name}" if count < 10 * unit else f"{count / unit:,.0f} {name}"
    return f"{count / 1024:.0f} KiB"


def words(code: str) -> str:
    """Return a code as words: "queue-paused" is "queue paused"."""
    return code.replace("-", " ").replace("_", " ")


def short(task_id: str) -> str:
    """Return the beginning of an id: enough to tell it from others on one page."""
    return task_id[:8] if len(task_id) > 12 else task_id


def error(text: str | None, job_type: str = "") -> str:
    """Return the error that a failed task of this type keeps as people read it; None: "".

    "email smtplib.SMTPException no such mailbox" is "SMTPException: no such mailbox".
    """
    kind = ERROR.fullmatch((text or "").removeprefix(f"{job_type} "))
    return ": ".join(filter(None, kind.groups())) if kind else text or ""


def times(text: str) -> Markup:
    """Return a sentence with each of its times as `clock` and `ago` show it."""
    shown = Markup("")
    last = 0
    for match in TIME.finditer(text):
        at = datetime.fromisoformat(match[0])
        shown += Markup("{}{} ({})").format(text[last : match.start()], clock(at), ago(at))
        last = match.end()
    return shown + text[last:]


def _rough(seconds: float) -> str:
    """Return a duration with one unit: nobody needs the seconds of "3 h ago"."""
    for unit, name in UNITS:
        if seconds >= 2 * unit:
            return f"{seconds / unit:.0f} {name}"
    return f"{max(1, seconds):.0f} s"


def _time(time: datetime, text: str) -> Markup:
    at = time.astimezone(UTC)
    return Markup('<time datetime="{}" title="{}">{}</time>').format(
        at.isoformat(timespec="seconds"), escape(at.strftime("%Y-%m-%d %H:%M:%S UTC")), text
    )
