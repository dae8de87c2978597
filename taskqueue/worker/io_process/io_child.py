"""The I/O process as its worker sees it: a child process with many runs."""

import contextlib
import logging
import time
from collections.abc import Callable

from taskqueue.telemetry.counters import Tally
from taskqueue.worker.decision import Ending
from taskqueue.worker.horse_channel import Phase, State, is_of_claim
from taskqueue.worker.horse_process import OVERDUE, RETURNED, HorseProcess, too_large
from taskqueue.worker.io_process.io_channel import RETIRES, STOP_RUN, IOChannel
from taskqueue.worker.settle_and_claim import Outcome

log = logging.getLogger(__name__)

HURRY_SECONDS = 1.0
# A process that runs no Python code for so long is stuck in C code: it cannot keep time limits.
FROZEN_SECONDS = 3.0
SUSPECT = Ending(
    RETURNED.how, "Its process ended while several jobs ran in it; it is put back, to run alone.", alone=True
)


class IOChild(HorseProcess):
    """Forks one I/O process at a time, reads its messages, kills and reaps it."""

    name = "I/O process"
    channel: IOChannel

    def __init__(self, tally: Tally, slots: int) -> None:
        self._slots = slots
        super().__init__(tally)
        self.retires = False  # it takes nothing more
        self._left: dict[tuple[str, str], State] = {}  # by job and execution: what had begun when it ended
        self._is_known = False  # which run has ended the process

    def _new_channel(self) -> IOChannel:
        return IOChannel(self._slots)

    def _take_line(self, line: bytes) -> None:
        if line == RETIRES:
            self.retires = True
        else:
            super()._take_line(line)

    @property
    def is_asleep(self) -> bool:
        """Whether the process runs and settles nothing, and nothing waits for it."""
        return bool(self.sleeps) and not self.states()

    def states(self) -> list[State]:
        """Return the state of each run that Redis may have for the process."""
        return list(self.channel.states()) if self.pid else []

    def begun(self) -> list[bytes]:
        """Return <job>:<execution> of what the process has begun and that is perhaps not settled."""
        return [state.member for state in self.channel.states()]

    def knows(self) -> Callable[[str, str], bool]:
        """Return a function of a job and an execution that tells whether Redis may have it for the process now."""
        claim, runs = self.channel.claim, {(state.job, state.execution) for state in self.channel.states()}
        return lambda *run: run in runs or is_of_claim(run[1], claim)

    def ended_outcomes(self) -> list[Outcome]:
        """Return nothing: the outcomes of ended runs are in the process only."""
        return []

    def reap(self) -> Ending | None:
        """Return how the process ended, until that is settled; None while it lives, or once it is settled."""
        lived = bool(self.pid)
        ending = super().reap()
        if lived and ending:
            self._left = {(state.job, state.execution): state for state in self.channel.states()}
            self._is_known = self.channel.count() == 1 and not self.channel.has_left_behind
            if ending is not self._killed_for and self.channel.count():
                log.error("%s %d jobs ran in it.", ending.message, self.channel.count())
        return ending

    def began(self, job: str, execution: str) -> float:
        """Return when an execution of the ended process began, in seconds since 1970; 0: it had not begun."""
        state = self._left.get((job, execution))
        return state.began if state else 0.0

    @property
    def busy(self) -> int:
        """How many jobs the process runs."""
        return self.channel.count()

    def stop_run(self, job: str, execution: str) -> bool:
        """Have this execution stopped or, if `execution` is "", any of this job; return whether it runs here."""
        for state in self.states():
            is_it = state.execution == execution if execution else state.job == job
            if is_it and state.phase is Phase.RUNNING:
                with contextlib.suppress(OSError):
                    self.channel.parent_end.send(STOP_RUN + state.execution.encode() + b"\n")
                return True
        return False

    def put_back(self, seconds_late: float) -> None:
        """Have the process settle what has ended by now, and end; its other jobs are put back to their queues."""
        self._killed_for = self._killed_for or RETURNED
        self.channel.hurry = True
        if seconds_late > HURRY_SECONDS:
            self.kill(RETURNED)

    def end_overdue(self) -> None:
        """Kill the process if it cannot end its overdue runs itself: C code holds Python's lock."""
        if not self.pid or self.channel.silent_seconds < FROZEN_SECONDS:
            return
        now = time.monotonic()
        if any(0 < state.deadline < now for state in self.channel.states() if state.phase is Phase.RUNNING):
            self.kill(OVERDUE)

    def end_large(self, limit_mib: int) -> None:
        """Kill the process if it uses more memory than this: all its jobs run alone next time."""
        if self.busy and (used := self.memory_mib) > limit_mib:
            self.kill(too_large(used, limit_mib, "I/O process"))

    def ending_of(self, job: str, execution: str, ending: Ending) -> Ending | None:
        """Return what to settle an execution as, after the process has ended like this; None: it is another's.

        Of several runs nobody can tell which one has ended the process, so none of them is blamed.
        """
        state = self._left.get((job, execution))
        if state is None:
            return RETURNED if is_of_claim(execution, self.channel.claim) else None  # it had not begun
        if state.phase is not Phase.RUNNING:
            return RETURNED  # it had ended, and Redis may not have its outcome
        if ending is OVERDUE:
            return OVERDUE if 0 < state.deadline < time.monotonic() else RETURNED
        if ending.how is RETURNED.how or self._is_known:
            return ending
        return SUSPECT
