"""For development: runs a program, and gives it the new code when a source file changes.

`python deploy/reload.py gunicorn …`: gunicorn is sent SIGHUP, and takes the new code by itself.
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
LOOK_SECONDS = 0.3  # a look costs a few milliseconds, and works where no file event arrives: in a mounted folder
SETTLE_SECONDS = 0.1
PATIENCE_SECONDS = 1.0  # for a job that runs; then the worker puts it back
EXIT_USAGE = 2
SIGNAL_EXIT = 128  # a shell's exit code for "ended by signal 9" is 137

Seen = dict[Path, tuple[int, int]]  # when each file was changed, in nanoseconds; its size


class Program:
    """The program, whichever process it is at the moment."""

    def __init__(self, command: Sequence[str]) -> None:
        self._command = command
        self._takes_hup = any(Path(word).name == "gunicorn" for word in command)
        self._seen = look(ROOT)
        self._has_new_code = False
        self._asked_to_stop = False
        self._process = subprocess.Popen(command)  # noqa: S603  what the developer asked for
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._stop)

    def run(self) -> int:
        """Stay until the program is asked to stop, or ends with the code it was started with; its exit code."""
        told = False
        while True:
            code = self._wait(LOOK_SECONDS)
            if code is not None:
                if self._asked_to_stop or not self._has_new_code:
                    return code if code >= 0 else SIGNAL_EXIT - code
                if not told:
                    say(f"the program has ended (exit code {code}); it starts when the code changes again")
                    told = True
                time.sleep(LOOK_SECONDS)
            if changed := self._changed():
                say(f"{', '.join(changed[:3])} changed")
                self._take_new_code()
                self._has_new_code, told = True, False

    def _changed(self) -> list[str]:
        """The files that have changed, when whoever writes them has come to an end."""
        before, now = self._seen, look(ROOT)
        while now != self._seen:
            self._seen = now
            time.sleep(SETTLE_SECONDS)  # an editor or a checkout may still be writing
            now = look(ROOT)
        return sorted(
            str(path.relative_to(ROOT)) for path in now.keys() | before.keys() if now.get(path) != before.get(path)
        )

    def _take_new_code(self) -> None:
        if self._takes_hup and self._process.poll() is None:
            self._process.send_signal(signal.SIGHUP)
            return
        while self._wait(0) is None:
            self._process.terminate()  # again: a worker puts back what it runs
            self._wait(PATIENCE_SECONDS)
        self._process = subprocess.Popen(self._command)  # noqa: S603  as above
        if self._asked_to_stop:
            self._process.terminate()

    def _wait(self, seconds: float) -> int | None:
        try:
            return self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            return None

    def _stop(self, number: int, frame: FrameType | None) -> None:
        self._asked_to_stop = True
        self._process.send_signal(number)


def look(root: Path) -> Seen:
    """What each source file of the project is like now."""
    files: Seen = {}
    for name in SOURCES:
        for path in (root / name).rglob("*") if (root / name).is_dir() else [root / name]:
            with contextlib.suppress(FileNotFoundError):  # an editor puts a new file in the old one's place
                if path.suffix in SUFFIXES:
                    status = path.stat()
                    files[path] = (status.st_mtime_ns, status.st_size)
    return files


def say(words: str) -> None:
    """Write a line to the program's log."""
    print(f"reload: {words}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    if not sys.argv[1:]:
        print(__doc__, file=sys.stderr)
        sys.exit(EXIT_USAGE)
    sys.exit(Program(sys.argv[1:]).run())
