"""The command `watch`: follows a task until it has ended, and says why it waits."""

from contextlib import suppress
from threading import Event, Thread
from typing import Any

from taskqueue.cli.operations import Operations, Row, operations_for
from taskqueue.cli.parser import ID, add_command, add_id
from taskqueue.cli.screen import LiveLine, bar, coloured, print_json, print_task
from taskqueue.errors import TaskQueueError
from taskqueue.store.keys import ENDED
from taskqueue.telemetry.clean import clean

WAITS = ("queued", "scheduled", "deferred")
LOOK_SECONDS = 2.0  # why a task waits changes without an event of the task


def add(commands: Any) -> None:
    """Add the command to the parser."""
    parser = add_command(
        commands,
        "watch",
        "follow a task until it has ended",
        "Follow a task until it has ended: print each change of its status and progress, and each line that its"
        " job logs or prints. While it waits, say why. The exit code is 0 if the task is complete, and 1 if it"
        " failed or was canceled.",
        lambda args: watch(operations_for(args), args.task_id, as_json=args.json),
        examples=[f"watch {ID}"],
    )
    add_id(parser)


def watch(operations: Operations, task_id: str, *, as_json: bool) -> int:
    """Print each change and log line of a task until it has ended; return 0 if it is complete."""
    live = LiveLine()
    reason = Reason(operations, task_id, live)
    task: Row = {}
    try:
        for event, row in operations.follow(task_id):
            if event != "log":
                task = row
            if as_json:
                continue
            if event == "log":
                live.print_above(f"  {row['level']:8}{row['line']}")
                continue
            reason.stop()
            if row["status"] not in ENDED:
                live.show(_line(row))
            if row["status"] in WAITS:
                reason.start(_line(row))
    finally:
        reason.stop()
        live.clear()
    (print_json if as_json else print_task)(task)
    return 0 if task["status"] == "complete" else 1


class Reason:
    """Adds to the live line why a task waits, and keeps that up to date in a thread."""

    def __init__(self, operations: Operations, task_id: str, live: LiveLine) -> None:
        self._operations = operations
        self._task_id = task_id
        self._live = live
        self._stopped = Event()
        self._thread: Thread | None = None

    def start(self, line: str) -> None:
        """Begin to say why the task waits, behind its line."""
        self._stopped = Event()
        self._thread = Thread(target=self._run, args=(line, self._stopped), name="reason", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Say no more: the task runs, or has ended."""
        self._stopped.set()
        if self._thread:
            self._thread.join(LOOK_SECONDS)  # a request that hangs does not hold up what has happened
            self._thread = None

    def _run(self, line: str, stopped: Event) -> None:
        shown = ""
        while not stopped.is_set():
            with suppress(TaskQueueError):  # the events say what is wrong
                reasons = self._operations.explain(self._task_id)["reasons"]
                # In a pipe a line for each kind of reason is enough; on a terminal its numbers change in place.
                if reasons and not stopped.is_set() and (self._live.changes or reasons[0]["code"] != shown):
                    shown = reasons[0]["code"]
                    self._live.show(f"{line}: {clean(reasons[0]['message'])}")
            stopped.wait(LOOK_SECONDS)


def _line(task: Row) -> str:
    attempt = f" (attempt {task['attempt']} of {task['attempts']})" if task["attempt"] > 1 else ""
    progress = task.get("progress")
    shown = f" {bar(progress['done'], progress['total'], clean(progress['message']))}" if progress else ""
    return f"{clean(task['type'])} {coloured(task['status'])}{attempt}{shown}"
