"""Runs a program for development, and gives it the new code when a source file changes.

    python taskqueue/programs/reload.py [--watch PATHS] COMMAND …

gunicorn is sent SIGHUP, and loads the new code by itself. Any other program is stopped and started again. PATHS
are the files and folders to watch, with commas between them; without them, the folder in which this is started.

It is run as a file and imports nothing but the standard library: it lives as long as the program, and stays small.
"""

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import FrameType

EVERYTHING = (".",)
IGNORED = {"__pycache__", "node_modules", "var"}  # and what begins with a dot, and virtual environments
ENVIRONMENT = "pyvenv.cfg"  # a folder with this file is a virtual environment
SUFFIXES = {".py", ".lua", ".html", ".js", ".css"}
# Polled: a mounted folder sends no file events. One snapshot takes about 3 ms.
POLL_SECONDS = 0.3
SETTLE_SECONDS = 0.1
PATIENCE_SECONDS = 1.0  # for a running job; after that the worker puts the job back
EXIT_USAGE = 2
SIGNAL_EXIT = 128  # a shell's exit code for "ended by signal 9" is 137

Snapshot = dict[Path, tuple[int, int]]  # file: when it was changed, in nanoseconds; its size, in bytes


class Program:
    """The program, whichever process runs it at the moment."""

    def __init__(self, command: Sequence[str], watch: Sequence[str]) -> None:
        self._command = command
        self._watch = watch
        self._takes_hup = any(Path(word).name == "gunicorn" for word in command)
        self._snapshot = take_snapshot(watch)
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
        before, now = self._snapshot, take_snapshot(self._watch)
        while now != self._snapshot:
            self._snapshot = now
            time.sleep(SETTLE_SECONDS)  # an editor or a checkout may still be writing
            now = take_snapshot(self._watch)
        return sorted(str(path) for path in now.keys() | before.keys() if now.get(path) != before.get(path))

    def _take_new_code(self) -> None:
        if self._takes_hup and self._process.poll() is None:
            self._process.send_signal(signal.SIGHUP)
            return
        while self._wait(0) is None:
            self._process.terminate()  # the second SIGTERM makes a worker put its jobs back
            self._wait(PATIENCE_SECONDS)
        if self._stop_requested:
            return
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


def command(watch: Sequence[str], program: Sequence[str]) -> list[str]:
    """Return the command line that runs `program` with reloads."""
    return [sys.executable, str(Path(__file__).resolve()), "--watch", ",".join(watch), *program]


def take_snapshot(watch: Sequence[str]) -> Snapshot:
    """Return the state of every source file in these files and folders."""
    files: Snapshot = {}
    for name in watch:
        for path in _sources(name):
            with contextlib.suppress(FileNotFoundError):  # an editor puts a new file in the old one's place
                status = path.stat()
                files[path] = (status.st_mtime_ns, status.st_size)
    return files


def _sources(name: str) -> Iterator[Path]:
    """Yield the source files of a folder, or the file of this name."""
    if not Path(name).is_dir():
        yield Path(name)
        return
    seen: set[Path] = set()  # a link may lead back to a folder above
    for folder, inner, files in os.walk(name, followlinks=True):
        real = Path(folder).resolve()
        if ENVIRONMENT in files or real in seen:
            inner.clear()
            continue
        seen.add(real)
        inner[:] = [each for each in inner if each not in IGNORED and not each.startswith(".")]
        yield from (Path(folder, file) for file in files if Path(file).suffix in SUFFIXES)


def say(message: str) -> None:
    """Write a line to the program's log."""
    print(f"reload: {message}", file=sys.stderr, flush=True)


def main(arguments: Sequence[str]) -> int:
    """Run the program that the arguments name, and return its exit code."""
    watch: Sequence[str] = EVERYTHING
    if arguments[:1] == ["--watch"]:
        watch, arguments = arguments[1].split(","), arguments[2:]
    if not arguments:
        print(__doc__, file=sys.stderr)
        return EXIT_USAGE
    return Program(arguments, watch).run()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
