"""One place for a work-horse, and the horse that stands in it, as the worker sees them."""

import contextlib
import logging
import os
import signal
import time
from collections.abc import Callable

from taskqueue.telemetry.counters import Tally
from taskqueue.worker.child import fork
from taskqueue.worker.horse_channel import SUSPENDED, WAKE, HorseChannel, Phase

log = logging.getLogger(__name__)


class HorseProcess:
    """Forks, hears, holds, kills and buries one horse at a time."""

    def __init__(self, tally: Tally) -> None:
        self.channel = HorseChannel()
        self.pid = 0
        self.sleeps = b""  # IDLE or SUSPENDED; b"": it is awake
        self.stopped_job = ""  # by the stop command
        self.killed_for = ""  # why the worker killed it, in words
        self._tally = tally
        self._how = ""  # its horse ended, as long as Redis does not know
        self._heard = b""  # of a line that has not come whole

    def fork(self, run: Callable[[], None], *, stop: bool) -> None:
        """Put a horse in: a child process that calls `run`."""
        self.channel.stop = stop
        pid = fork(run)
        self.pid, self.sleeps, self.stopped_job, self.killed_for = pid, b"", "", ""
        with contextlib.suppress(OSError):
            os.setpgid(pid, pid)  # as it does itself: whoever comes first
        self.channel.parent_end.setblocking(False)

    def hear(self) -> None:
        """Take in what the horse has said."""
        with contextlib.suppress(BlockingIOError):
            *lines, self._heard = (self._heard + self.channel.parent_end.recv(65536)).split(b"\n")
            for line in lines:
                if line.startswith(b"{"):
                    self._tally.merge(line.decode())
                else:
                    self.sleeps = line

    def wake(self) -> None:
        """It has something to do."""
        self.sleeps = b""
        with contextlib.suppress(OSError):
            self.channel.parent_end.send(WAKE)

    @property
    def is_suspended(self) -> bool:
        """Whether `rq suspend` has put it to sleep."""
        return self.sleeps == SUSPENDED

    @property
    def is_busy(self) -> bool:
        """Whether it runs a job."""
        return bool(self.pid) and self.channel.read().phase is Phase.RUNNING

    @property
    def is_overdue(self) -> bool:
        """Whether its job runs past its hard limit."""
        state = self.channel.read()
        return bool(self.pid) and state.phase is Phase.RUNNING and 0 < state.deadline < time.monotonic()

    def runs(self, job: str, execution: str = "") -> bool:
        """Whether it runs this execution; where none is named, whether it runs this job."""
        state = self.channel.read()
        same = state.execution == execution if execution else state.job == job
        return bool(self.pid) and state.phase is Phase.RUNNING and same

    def kill(self) -> None:
        """End it with all that it has started."""
        if self.pid:
            kill_all(self.pid)

    def kill_if_still(self, execution: str, why: str) -> bool:
        """Kill it if it still runs that job: it is held first, so it cannot begin another meanwhile."""
        os.kill(self.pid, signal.SIGSTOP)
        os.waitid(os.P_PID, self.pid, os.WSTOPPED | os.WEXITED | os.WNOWAIT)  # it may have ended just now
        state = self.channel.read()
        if state.phase is Phase.RUNNING and state.execution == execution:
            self.killed_for = why
            self.kill()
            return True
        os.kill(self.pid, signal.SIGCONT)
        return False

    def bury(self) -> str | None:
        """How it ended, in words, until that is settled; None while it lives or the horse is empty."""
        if not self.pid:
            return self._how or None
        pid, status, usage = os.wait4(self.pid, os.WNOHANG)
        if pid == 0:
            return None
        with contextlib.suppress(OSError):
            os.killpg(pid, signal.SIGKILL)  # what it left behind
        self.pid = 0
        self.hear()
        self._how = self.killed_for or _how(status, usage.ru_maxrss // 1024, self.channel.last_line)
        return self._how

    def settled(self) -> None:
        """What the horse has left is in Redis."""
        self._how = ""

    def renew(self) -> None:
        """A new channel for the next horse: the dead one may have left anything in its own."""
        self.channel.close()
        self.channel = HorseChannel()
        self._heard = b""


def _how(status: int, peak_mib: int, last_line: str) -> str:
    code = os.waitstatus_to_exitcode(status)
    end = f"exit code {code}"
    if code < 0:
        with contextlib.suppress(ValueError):
            end = f"killed by {signal.Signals(-code).name} (signal {-code})"
    said = f" The last line that its job logged: {last_line}" if last_line else ""
    return f"Work-horse terminated unexpectedly; {end}; it had used up to {peak_mib} MiB.{said}"


def descendants(pid: int) -> list[int]:
    """The processes below this one, where Linux tells."""
    found: list[int] = []
    with contextlib.suppress(OSError, ValueError):
        for thread in os.listdir(f"/proc/{pid}/task"):  # noqa: PTH208  names only
            with open(f"/proc/{pid}/task/{thread}/children") as children:  # noqa: PTH123  /proc is no folder of files
                for child in map(int, children.read().split()):
                    found += [child, *descendants(child)]
    return found


def kill_all(pid: int) -> None:
    """End a horse, its process group, and what it started elsewhere."""
    below = descendants(pid)
    with contextlib.suppress(OSError):
        os.killpg(pid, signal.SIGKILL)
    for child in below:
        with contextlib.suppress(OSError):
            os.kill(child, signal.SIGKILL)
