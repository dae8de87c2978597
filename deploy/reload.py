"""Runs a program for development, and gives it the new code when a source file changes.

`python deploy/reload.py gunicorn …`: gunicorn is sent SIGHUP, and loads the new code by itself.
`python deploy/reload.py python worker.py`: any other program is stopped and started again.
"""

import contextlib
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from types import FrameType

ROOT = Path(__file__).resolve().parent.parent
SOURCES = ("worker.py", "jobs", "taskqueue", "web")
SUFFIXES = {".py", ".lua", ".html", ".js"}
# Polled: a mounted folder sends no file events. One snapshot takes about 3 ms.
POLL_SECONDS = 0.3
SETTLE_SECONDS = 0.1
PATIENCE_SECONDS = 1.0  # for a running job; after that the worker puts the job back
EXIT_USAGE = 2
SIGNAL_EXIT = 128  # a shell's exit code for "ended by signal 9" is 137

Snapshot = dict[Path, tuple[int, int]]  # file: when it was changed, in nanoseconds; its size, in bytes


class Program:
    """The program, whichever process runs it at the moment."""

    def __init__(self, command: Sequence[str]) -> None:
        self._command = command
        self._takes_hup = any(Path(word).name == "gunicorn" for word in command)
        self._snapshot = take_snapshot(ROOT)
        self._has_new_code = False
        self._stop_requested = False
        self._process = subprocess.Popen(command)  # noqa: S603  what the developer asked for
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._stop)

    def run(self) -> int:
        """Return the program's exit code when it was asked to stop, or ended before any change of the code."""
        end_reported = False
        while True:
            code = self._wait(POLL_SECONDS)
            if code is not None:
                if self._stop_requested or not self._has_new_code:
                    return code if code >= 0 else SIGNAL_EXIT - code
                if not end_reported:
                    say(f"the program has ended (exit code {code}); it starts when the code changes again")
                    end_reported = True
                time.sleep(POLL_SECONDS)
            if changed := self._changed():
                say(f"{', '.join(changed[:3])} changed")
                self._take_new_code()
                self._has_new_code, end_reported = True, False

    def _changed(self) -> list[str]:
        """Return the files that have changed, once nobody writes to them any more."""
        before, now = self._snapshot, take_snapshot(ROOT)
        while now != self._snapshot:
            self._snapshot = now
            time.sleep(SETTLE_SECONDS)  # an editor or a checkout may still be writing
            now = take_snapshot(ROOT)
        return sorted(
            str(path.relative_to(ROOT)) for path in now.keys() | before.keys() if now.get(path) != before.get(path)
        )

    def _take_new_code(self) -> None:
        if self._takes_hup and self._process.poll() is None:
            self._process.send_signal(signal.SIGHUP)
            return
        while self._wait(0) is None:
            self._process.terminate()  # the second SIGTERM makes a worker put its jobs back
            self._wait(PATIENCE_SECONDS)
        self._process = subprocess.Popen(self._command)  # noqa: S603  what the developer asked for
        if self._stop_requested:
            self._process.terminate()

    def _wait(self, seconds: float) -> int | None:
        try:
            return self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            return None

    def _stop(self, number: int, frame: FrameType | None) -> None:
        self._stop_requested = True
        self._process.send_signal(number)


def take_snapshot(root: Path) -> Snapshot:
    """Return the state of every source file of the project."""
    files: Snapshot = {}
    for name in SOURCES:
        for path in (root / name).rglob("*") if (root / name).is_dir() else [root / name]:
            with contextlib.suppress(FileNotFoundError):  # an editor puts a new file in the old one's place
                if path.suffix in SUFFIXES:
                    status = path.stat()
                    files[path] = (status.st_mtime_ns, status.st_size)
    return files


def say(message: str) -> None:
    """Write a line to the program's log."""
    print(f"reload: {message}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    if not sys.argv[1:]:
        print(__doc__, file=sys.stderr)
        sys.exit(EXIT_USAGE)
    sys.exit(Program(sys.argv[1:]).run())
