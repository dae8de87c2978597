"""The programs that `taskqueue run` starts, and the one log that it makes of theirs."""

import contextlib
import ctypes
import os
import signal
import subprocess
import sys
import threading
from collections import deque
from typing import TextIO

LINE_BYTES = 64 * 1024  # a longer line is shown in pieces
LAST_LINES = 20  # of a quiet part; they are shown when it dies
QUIET = {"redis"}  # Redis logs much at each start, and nothing about jobs
COLOURS = {"redis": "35", "web": "36", "worker": "32"}  # ANSI SGR codes
PR_SET_PDEATHSIG = 1  # <sys/prctl.h>
LIBC = ctypes.CDLL(None)  # loaded here: loading it between fork and exec would not be safe


class Log:
    """The one log: whole lines of all parts, each behind its part's name."""

    def __init__(self, out: TextIO) -> None:
        self._out = out.buffer  # a part's bytes pass unchanged, in whatever encoding
        self._lock = threading.Lock()
        self.is_terminal = out.isatty()
        self.has_colours = self.is_terminal and not os.environ.get("NO_COLOR")

    def line(self, name: str, content: bytes) -> None:
        """Write one line of a part."""
        label = f"{name:<7} |"
        if self.has_colours:
            label = f"\033[{COLOURS.get(name, '0')}m{label}\033[0m"
        self._write(label.encode() + b" " + content)

    def say(self, message: str) -> None:
        """Write lines of `taskqueue run` itself."""
        self._write(message.encode(errors="surrogateescape"))

    def _write(self, content: bytes) -> None:
        # The reader may be gone: `make run | head`, a closed terminal. The parts must still be read and stopped.
        with self._lock, contextlib.suppress(OSError):
            self._out.write(content + b"\n")
            self._out.flush()


class Part:
    """One program, in a process group of its own: the terminal's Ctrl-C reaches only `taskqueue run`."""

    def __init__(
        self, name: str, command: list[str], env: dict[str, str], log: Log, keep_open: tuple[int, ...]
    ) -> None:
        self.name = name
        self.last_lines = deque[bytes](maxlen=LAST_LINES)
        self._process = subprocess.Popen(  # noqa: S603  our own command lines
            command,
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            pass_fds=keep_open,
            preexec_fn=_end_with_parent,
        )
        self._reader = threading.Thread(target=self._read, args=(log,), daemon=True)
        self._reader.start()

    def _read(self, log: Log) -> None:
        assert self._process.stdout  # noqa: S101  a pipe was asked for
        while line := self._process.stdout.readline(LINE_BYTES):
            self.last_lines.append(line.rstrip(b"\r\n"))
            if self.name not in QUIET:
                log.line(self.name, self.last_lines[-1])

    def died(self) -> str | None:
        """Return a sentence about how the program ended; None while it runs."""
        code = self._process.poll()
        if code is None:
            return None
        how = f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
        return f"{self.name} has ended ({how})"

    def ask_to_stop(self) -> None:
        """Send SIGTERM to the program, which stops its own children."""
        if self._process.poll() is None:
            self._process.terminate()

    def end(self) -> None:
        """Send SIGKILL to the program and to every process that it left behind."""
        # macOS refuses (PermissionError) where only zombies are left.
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        self._reader.join(1)
        if self._process.stdout and not self._reader.is_alive():
            self._process.stdout.close()


def _end_with_parent() -> None:
    """Linux: ask the kernel to send this part SIGTERM if its parent is killed. On macOS the part lives on then."""
    if sys.platform == "linux":
        LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
