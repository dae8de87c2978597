"""The channel between a worker and its I/O process: like a horse's, with the state of each of its runs.

The process writes what it is about to do before it does it:

    claim                 it has sent this claim to Redis, which may have given it jobs under `<claim>`, or under
                          `<claim>-1`, `<claim>-2` …, that have not begun
    a slot with RUNNING   this execution has begun
    a slot with CLAIMING  this execution has ended, and its outcome is being sent

Besides a horse's lines it sends RETIRES: it takes nothing more, and ends when its runs have. Besides WAKE and ARM
the worker sends STOP_RUN with an execution's id, as a line.
"""

import mmap
import struct
import time
from collections.abc import Iterator

from taskqueue.worker.horse_channel import HorseChannel, Phase, State

RETIRES, STOP_RUN = b"r", b"x"

_HEADER = struct.Struct("40s")
_BEAT = struct.Struct("d")
_BEAT_OFFSET = 48
_LEFT = struct.Struct("?")
_LEFT_OFFSET = 56
_ALLOWED = struct.Struct("I")
_ALLOWED_OFFSET = 60
_HURRY = struct.Struct("?")
_HURRY_OFFSET = 64
_SLOTS_OFFSET = 128
_PHASE = struct.Struct("B")
_STATE = struct.Struct("B128s40s128sdd")  # as in horse_channel.py


class IOChannel(HorseChannel):
    """The channel of one I/O process. It is made before the fork, so that both processes have it."""

    def __init__(self, slots: int) -> None:
        super().__init__()
        self.slots = slots
        # An outcome that is being sent keeps its slot, while the run after it has begun.
        self.size = 2 * slots
        self._table = mmap.mmap(-1, _SLOTS_OFFSET + self.size * _STATE.size)
        self.allowed = slots
        self.beat()

    # Written by the process

    def write_claim(self, claim: str) -> None:
        """Write the claim that is about to be sent; "": all that it gave has its slot."""
        _HEADER.pack_into(self._table, 0, claim.encode())

    def write_slot(self, slot: int, state: State) -> None:
        """Write what a run is about to do."""
        offset = _SLOTS_OFFSET + slot * _STATE.size
        texts = (state.job.encode(), state.execution.encode(), state.origin.encode())
        _STATE.pack_into(self._table, offset, Phase.RESTING, *texts, state.began, state.deadline)
        _PHASE.pack_into(self._table, offset, state.phase)

    def write_phase(self, slot: int, phase: Phase) -> None:
        """Write that a run has ended (CLAIMING), or that Redis has its outcome (RESTING)."""
        _PHASE.pack_into(self._table, _SLOTS_OFFSET + slot * _STATE.size, phase)

    def beat(self) -> None:
        """Note that the process can run Python code now."""
        _BEAT.pack_into(self._table, _BEAT_OFFSET, time.monotonic())

    def note_left_behind(self) -> None:
        """Note that a run that was settled has not ended, and may still do harm."""
        _LEFT.pack_into(self._table, _LEFT_OFFSET, True)

    # Written by the parent

    @property
    def allowed(self) -> int:
        """How many runs the process may have at once."""
        return int(_ALLOWED.unpack_from(self._table, _ALLOWED_OFFSET)[0])

    @allowed.setter
    def allowed(self, runs: int) -> None:
        _ALLOWED.pack_into(self._table, _ALLOWED_OFFSET, max(0, runs))

    @property
    def hurry(self) -> bool:
        """Whether the process must settle what has ended by now, and leave the rest to its parent."""
        return bool(_HURRY.unpack_from(self._table, _HURRY_OFFSET)[0])

    @hurry.setter
    def hurry(self, value: bool) -> None:
        _HURRY.pack_into(self._table, _HURRY_OFFSET, value)

    # Read by the parent

    @property
    def claim(self) -> str:
        """The claim whose jobs may have no slot yet."""
        return str(_HEADER.unpack_from(self._table)[0].rstrip(b"\0").decode())

    @property
    def silent_seconds(self) -> float:
        """How many seconds ago the process could run Python code."""
        return max(0.0, time.monotonic() - float(_BEAT.unpack_from(self._table, _BEAT_OFFSET)[0]))

    @property
    def has_left_behind(self) -> bool:
        """Whether a run that was settled has not ended."""
        return bool(_LEFT.unpack_from(self._table, _LEFT_OFFSET)[0])

    def states(self) -> Iterator[State]:
        """Yield the states of the runs that have begun, and whose outcome may not be in Redis yet."""
        for slot in range(self.size):
            offset = _SLOTS_OFFSET + slot * _STATE.size
            if self._table[offset] == Phase.RESTING:
                continue
            phase, *texts, began, deadline = _STATE.unpack_from(self._table, offset)
            job, execution, origin = (text.rstrip(b"\0").decode(errors="backslashreplace") for text in texts)
            yield State(Phase(phase), "", job, execution, origin, began, deadline)

    def count(self) -> int:
        """Return how many runs go on."""
        first = range(_SLOTS_OFFSET, _SLOTS_OFFSET + self.size * _STATE.size, _STATE.size)
        return sum(self._table[offset] == Phase.RUNNING for offset in first)

    def close(self) -> None:
        """Close the memory and the sockets."""
        super().close()
        self._table.close()
