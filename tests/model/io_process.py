"""The I/O process of a worker: many runs at once, each with its slot in the engine's own channel.

A process that only sleeps takes its place, so that the engine's own code kills and reaps it.
"""

import os
from collections.abc import Collection

from taskqueue.telemetry.counters import Tally
from taskqueue.worker.by_rq import ByRQ
from taskqueue.worker.decision import Ending
from taskqueue.worker.horse_channel import Phase, State
from taskqueue.worker.io_process.io_child import IOChild
from tests.model.driver import Engine
from tests.model.processes import Call, Claimed, Process

SLOTS = 12  # so many runs go on at once
LONG_PAST = 0.001  # on the monotonic clock


class IOProcess(Process):
    """What an I/O process calls, and what its worker sees of it."""

    def __init__(self, engine: Engine, worker: str, name: str, by_rq: ByRQ) -> None:
        super().__init__(engine, worker, name, by_rq, "io")
        self.child = IOChild(Tally(), SLOTS)
        self.child.pid = os.posix_spawn("/bin/sleep", ["sleep", "900"], {}, setpgroup=0)
        self.child.channel.parent_end.setblocking(False)  # as after a fork
        self._slots: dict[str, int] = {}  # by entry in the started registry
        self._free = list(range(self.child.channel.size - 1, -1, -1))
        self._armed_claim = ""

    def close(self) -> None:
        """Close its connections, and end the process."""
        super().close()
        if self.child.pid:
            self.end(None)
        self.child.channel.close()

    def arm(self) -> Call:
        """Prepare a claim that waits in Redis until a job comes."""
        call = super().arm()
        self._armed_claim = call.claim
        return call

    def exchange(self, call: Call) -> None:
        """Settle and claim, and write each step to the channel."""
        channel = self.child.channel
        for run, _ in call.outcomes:
            channel.write_phase(self._slots[run.member], Phase.CLAIMING)
        channel.write_claim(call.claim or self._armed_claim)
        super().exchange(call)
        if call.is_armed:
            self._armed_claim = ""
        for run, _ in call.outcomes:
            slot = self._slots.pop(run.member)
            channel.write_phase(slot, Phase.RESTING)
            self._free.append(slot)
        for run in call.received:
            self._slots[run.member] = self._free.pop()
            self._write(run)
        channel.write_claim(self._armed_claim)

    def _write(self, run: Claimed, deadline: float = 0.0) -> None:
        state = State(Phase.RUNNING, "", run.job_id, run.execution, run.origin, run.began, deadline)
        self.child.channel.write_slot(self._slots[run.member], state)

    def let_time_pass(self, runs: Collection[Claimed]) -> None:
        """Let the time limit of these runs pass."""
        for run in runs:
            self._write(run, LONG_PAST)

    def end(self, ending: Ending | None) -> Ending:
        """Let the process end: killed by its worker for this, or by itself; return how its worker sees that."""
        pid = self.child.pid
        self.child.kill(ending)
        os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
        reaped = self.child.reap()
        assert reaped
        return reaped
