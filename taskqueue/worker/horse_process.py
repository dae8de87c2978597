"""A work-horse as its worker sees it: a child process, forked again after each end."""

import contextlib
import mmap
import os
import signal
import time
from collections.abc import Callable, Iterator

from taskqueue.store.keys import decoded
from taskqueue.telemetry.counters import Tally
from taskqueue.worker.child import fork
from taskqueue.worker.decision import Ending, How
from taskqueue.worker.horse_channel import (
    ANNOUNCE_GROUP_SECONDS,
    ARM,
    GROUPS,
    IDLE,
    IDLE_OTHERS,
    REFUSED,
    SUSPENDED,
    WAKE,
    HorseChannel,
    Phase,
    State,
    is_of_claim,
)
from taskqueue.worker.settle_and_claim import Outcome

RETURNED = Ending(How.RETURNED, "It is put back to its queue.")
STOPPED = Ending(How.STOPPED, "Stopped on request.")
OVERDUE = Ending(How.TIMED_OUT, "It did not end at its time limit, and was killed.")
LONG_IN_GROUP_SECONDS = 0.025  # after which the other jobs of its group do not wait for a job
LONGEST_PAUSE_SECONDS = 30  # before a new process, where one after the other crashes: 1 s, 2 s, 4 s …


class HorseProcess:
    """Forks one horse at a time, reads its messages, kills and reaps it."""

    name = "Work-horse"  # in the report of its death

    def __init__(self, tally: Tally) -> None:
        self.channel = self._new_channel()
        self.pid = 0  # 0: there is no process
        self.sleeps = b""  # IDLE, IDLE_OTHERS, SUSPENDED, or ARM: it was armed; AWAKE: none of these
        self.refused = ""  # what Redis said when it refused the horse, last at `refused_at` of the monotonic clock
        self.refused_at = float("-inf")
        self._groups_until = float("-inf")  # on the monotonic clock: for so long it may claim groups
        self.fork_at = 0.0  # on the monotonic clock: when to start the next process, if there is none
        self._forked_at = 0.0
        self._crashes = 0  # how many processes in a row have ended by themselves, and not in a job
        self._tally = tally
        self._killed_for: Ending | None = None  # the worker has killed it on purpose
        self._ending: Ending | None = None  # it has ended, and what it left is not settled yet
        self._begun_line = b""  # of a message that has not come whole

    def _new_channel(self) -> HorseChannel:
        return HorseChannel()

    def fork(self, run: Callable[[], None], *, stop: bool) -> None:
        """Start a horse: a child process that calls `run`; with `stop` it claims nothing."""
        self.channel.stop = stop
        self._forked_at = time.monotonic()
        pid = fork(run)
        self.pid, self.sleeps, self._killed_for = pid, b"", None
        with contextlib.suppress(OSError):
            os.setpgid(pid, pid)  # the child does it, too: whichever comes first
        self.channel.parent_end.setblocking(False)

    def receive(self) -> None:
        """Read the messages of the horse."""
        with contextlib.suppress(BlockingIOError):
            received = self._begun_line + self.channel.parent_end.recv(65536)
            *lines, self._begun_line = received.split(b"\n")
            for line in lines:
                self._take_line(line)

    def _take_line(self, line: bytes) -> None:
        if line.startswith(b"{"):
            self._tally.merge(line.decode())
        elif line.startswith(REFUSED):
            self.refused, self.refused_at = decoded(line[1:]), time.monotonic()
        elif line == GROUPS:
            self._groups_until = time.monotonic() + 2 * ANNOUNCE_GROUP_SECONDS
        else:
            self.sleeps = line

    def wake(self) -> None:
        """Let the horse try to claim a job."""
        self.sleeps = b""
        with contextlib.suppress(OSError):
            self.channel.parent_end.send(WAKE)

    def arm(self, muted: bytes, *, reports: bool) -> None:
        """Let the idle horse wait in Redis for a job; `muted`: a byte for each queue, 1 for those without.

        `reports`: the horse says at once that it has got a job, because another one must be armed then.
        """
        self.sleeps = ARM
        with contextlib.suppress(OSError):
            self.channel.parent_end.send(ARM + bytes((reports,)) + muted)

    @property
    def is_armed(self) -> bool:
        """Whether the horse waits in Redis for a job."""
        return self.sleeps == ARM and self.channel.read().phase in (Phase.RESTING, Phase.ARMED)

    @property
    def is_asleep(self) -> bool:
        """Whether the horse sleeps, for whatever reason."""
        return self.is_armed if self.sleeps == ARM else bool(self.sleeps)

    @property
    def is_idle(self) -> bool:
        """Whether the horse could begin a job, but none of its kind waits."""
        return self.sleeps in (IDLE, IDLE_OTHERS)

    @property
    def is_suspended(self) -> bool:
        """Whether the horse sleeps because of `rq suspend`."""
        return self.sleeps == SUSPENDED

    def states(self) -> list[State]:
        """Return the state of each run that Redis may have for the horse."""
        state = self.channel.read()
        return [state] if self.pid and state.phase in (Phase.CLAIMING, Phase.RUNNING) else []

    def begun(self) -> list[bytes]:
        """Return <job>:<execution> of what the process has begun and that is perhaps not settled."""
        state = self.channel.read()
        return [] if state.phase is Phase.RESTING or not state.job else [state.member]

    @property
    def memory_mib(self) -> int:
        """The resident memory of the process and of all processes below it; on Linux only, elsewhere 0."""
        return sum(map(_resident_bytes, (self.pid, *descendants(self.pid)))) // 2**20

    def end_large(self, limit_mib: int) -> None:
        """Kill the process if what it runs uses more memory than this."""
        state = self.channel.read()
        if self.busy and (used := self.memory_mib) > limit_mib:
            self.kill_if_still(state.execution, too_large(used, limit_mib, "work-horse"))

    def began(self, job: str, execution: str) -> float:
        """Return when an execution of the horse began, in seconds since 1970; 0: it had not begun."""
        state = self.channel.read()
        return state.began if (job, execution) == (state.job, state.execution) else 0.0

    @property
    def busy(self) -> int:
        """How many jobs the horse runs."""
        return sum(state.phase is Phase.RUNNING for state in self.states())

    def stop_run(self, job: str, execution: str) -> bool:
        """Stop this execution or, if `execution` is "", any of this job; return whether it runs here."""
        state = self.channel.read()
        is_it = state.execution == execution if execution else state.job == job
        return self.busy > 0 and is_it and self.kill_if_still(state.execution, STOPPED)

    def end_overdue(self) -> None:
        """Kill the horse if its job runs past its hard limit."""
        state = self.channel.read()
        if self.pid and state.phase is Phase.RUNNING and 0 < state.deadline < time.monotonic():
            self.kill_if_still(state.execution, OVERDUE)

    def ending_of(self, job: str, execution: str, ending: Ending) -> Ending | None:
        """Return what to settle an execution as, after the horse has ended like this; None: it is another's."""
        state = self.channel.read()
        if state.phase is not Phase.RESTING and (job, execution) == (state.job, state.execution):
            return ending
        return RETURNED if is_of_claim(execution, state.claim) else None  # it was claimed, and had not begun

    def kill(self, ending: Ending | None = None) -> None:
        """Kill the horse with all that it has started.

        `ending`: what to settle its run as; without one the run counts as a death of the horse.
        """
        if ending:
            self._killed_for = ending
        if self.pid:
            kill_all(self.pid)

    def put_back(self, seconds_late: float) -> None:
        """Kill the horse, and have its job put back to its queue."""
        self.kill(RETURNED)

    def kill_if_still(self, execution: str, ending: Ending) -> bool:
        """Kill the horse if it still runs this execution; return whether it did."""
        with self._halted() as state:
            if state.phase is not Phase.RUNNING or state.execution != execution:
                return False
            self.kill(ending)
            return True

    @contextlib.contextmanager
    def _halted(self) -> Iterator[State]:
        """Stop the horse meanwhile, so that it cannot begin another job; yield its state."""
        os.kill(self.pid, signal.SIGSTOP)
        os.waitid(os.P_PID, self.pid, os.WSTOPPED | os.WEXITED | os.WNOWAIT)  # it may have ended just now
        try:
            yield self.channel.read()
        finally:
            os.kill(self.pid, signal.SIGCONT)

    @property
    def may_have_group(self) -> bool:
        """Whether the horse has claimed groups lately."""
        return bool(self.pid) and time.monotonic() < self._groups_until

    def end_long_group(self) -> bool:
        """Return whether a job of the horse's group runs for long; then the horse begins no other one of them."""
        if self.channel.group_over or not self._runs_long_in_group(self.channel.read()):
            return False
        with self._halted() as state:
            self.channel.group_over = self._runs_long_in_group(state)
        return self.channel.group_over

    def _runs_long_in_group(self, state: State) -> bool:
        return bool(self.pid) and state.runs_in_group and time.time() - state.began > LONG_IN_GROUP_SECONDS

    def ended_before_long(self) -> list[Outcome]:
        """Return the outcomes of the jobs that a group which is over has run before the job that runs for long."""
        state, ended = self._read_ended()
        return ended if state.runs_in_group and self.channel.group_over else []

    def knows(self) -> Callable[[str, str], bool]:
        """Return a function of a job and an execution that tells whether it is the process's."""
        return self._knows

    def _knows(self, job: str, execution: str) -> bool:
        """Return whether this execution of this job is the horse's: it runs, is to be settled, or is to begin."""
        state, ended = self._read_ended()
        if state.runs_in_group and self.channel.group_over:
            state = state._replace(claim="")
        has_ended = (job, execution) in {(outcome.job, outcome.execution) for outcome in ended}
        return has_ended or state.knows(job, execution)

    def _read_ended(self) -> tuple[State, list[Outcome]]:
        """Return the horse's state, and the outcomes that `ended` yields for it."""
        while True:
            state = self.channel.read()
            with contextlib.suppress(ValueError, EOFError, TypeError):  # it is writing those of its next group
                ended = list(self.ended(state))
                if self.channel.read() == state:  # so the horse has not begun to write others meanwhile
                    return state, ended

    def ended_outcomes(self) -> list[Outcome]:
        """Return the outcomes of runs that had ended before the process did, and that are perhaps not settled."""
        return list(self.ended(self.channel.read()))

    def ended(self, state: State) -> Iterator[Outcome]:
        """Yield the outcomes of a group's jobs that had ended in this state, and are perhaps not settled."""
        for values in self.channel.read_outcomes(state.ended):
            yield Outcome._make(values)

    def reap(self) -> Ending | None:
        """Return how the horse ended, until that is settled; None while it lives, or once it is settled."""
        if not self.pid:
            return self._ending
        pid, status, usage = os.wait4(self.pid, os.WNOHANG)
        if pid == 0:
            return None
        with contextlib.suppress(OSError):
            os.killpg(pid, signal.SIGKILL)  # what the horse left running
        was_busy = bool(self.busy)
        self.pid = 0
        self.receive()
        has_crashed = os.waitstatus_to_exitcode(status) > 0 and not was_busy
        lived_long = time.monotonic() - self._forked_at > LONGEST_PAUSE_SECONDS
        self._crashes = 0 if not has_crashed else 1 if lived_long else self._crashes + 1
        pause = min(2 ** (self._crashes - 1), LONGEST_PAUSE_SECONDS) if has_crashed else 0.0
        self.fork_at = time.monotonic() + pause
        self._ending = self._killed_for or Ending(
            How.HORSE_DIED, self._death_report(status, usage.ru_maxrss // 1024, self.channel.last_line)
        )
        return self._ending

    def _death_report(self, status: int, peak_mib: int, last_line: str) -> str:
        code = os.waitstatus_to_exitcode(status)
        end = f"exit code {code}"
        if code < 0:
            with contextlib.suppress(ValueError):
                end = f"killed by {signal.Signals(-code).name} (signal {-code})"
        last_words = f" The last line that its job logged: {last_line}" if last_line else ""
        return f"{self.name} terminated unexpectedly; {end}; it had used up to {peak_mib} MiB.{last_words}"

    @property
    def is_settled(self) -> bool:
        """Whether Redis has all that the last process has left."""
        return self._ending is None

    def note_settled(self) -> None:
        """Note that Redis has all that the horse left."""
        self._ending = None

    def renew_channel(self) -> None:
        """Make a new channel for the next horse: the dead one may have left half a message in its own."""
        self.channel.close()
        self.channel = self._new_channel()
        self._begun_line = b""


def too_large(used_mib: int, limit_mib: int, process: str) -> Ending:
    """Return the ending of runs whose process was killed because it used too much memory."""
    message = f"It used {used_mib:,} MiB of memory, the limit is {limit_mib:,} MiB (HORSE_MEMORY_MIB)"
    return Ending(How.HORSE_DIED, f"{message}, and its {process} was killed.")


def _resident_bytes(pid: int) -> int:
    try:
        with open(f"/proc/{pid}/statm") as statm:  # noqa: PTH123  /proc is no folder of files
            return int(statm.read().split()[1]) * mmap.PAGESIZE
    except (OSError, IndexError, ValueError):  # it has ended
        return 0


def descendants(pid: int) -> list[int]:
    """Return the ids of all processes below this one; on Linux only, elsewhere []."""
    pids: list[int] = []
    with contextlib.suppress(OSError, ValueError):
        for thread in os.listdir(f"/proc/{pid}/task"):  # noqa: PTH208  names only
            with open(f"/proc/{pid}/task/{thread}/children") as children:  # noqa: PTH123  /proc is no folder of files
                for child in map(int, children.read().split()):
                    pids += [child, *descendants(child)]
    return pids


def kill_all(pid: int) -> None:
    """Kill a horse, its process group, and the processes that it has started in other groups."""
    below = descendants(pid)
    with contextlib.suppress(OSError):
        os.killpg(pid, signal.SIGKILL)
    for child in below:
        with contextlib.suppress(OSError):
            os.kill(child, signal.SIGKILL)
