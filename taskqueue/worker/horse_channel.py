"""What a worker and one of its work-horses tell each other, in memory that both have, and with single bytes.

The horse writes what it is about to do before it does it, so that the parent knows what a horse was doing that
died at any instruction:

    CLAIMING  `claim` was sent to Redis: a job may stand there under that execution's id, and has not begun;
              `execution` of `job`, if there is one, has run, and its outcome was sent with it
    RUNNING   `execution` of `job` has begun, and may run until `deadline`

The parent writes `stop`: settle what runs, claim nothing more, and end. The last line that the job has logged
stands there too, for the report of its death.

Lines on the socket: horse to parent, IDLE (nothing to claim, asleep until it is woken), SUSPENDED (the same,
`rq suspend` holds), and `{…}`, what `Tally` has counted; parent to horse, WAKE, a single byte.
"""

import mmap
import socket
import struct
from enum import IntEnum
from typing import NamedTuple

IDLE, SUSPENDED, WAKE = b"i", b"s", b"w"

_STOP = struct.Struct("?")
_STATE = struct.Struct("B40s128s40s128sdd")  # ids are at most as long as Redis keys of RQ's are in practice
_STATE_OFFSET = 8
_LINE = struct.Struct("H400s")
_LINE_OFFSET = 1024


class Phase(IntEnum):
    """What a horse does."""

    RESTING = 0
    CLAIMING = 1
    RUNNING = 2


class State(NamedTuple):
    """What a horse wrote last."""

    phase: Phase
    claim: str = ""  # an execution's id
    job: str = ""
    execution: str = ""
    origin: str = ""  # the queue's name
    began: float = 0.0  # seconds since 1970
    deadline: float = 0.0  # on the monotonic clock; 0: none

    @property
    def executions(self) -> tuple[str, str]:
        """What may stand in Redis for it."""
        return self.claim, self.execution


class HorseChannel:
    """One horse's share. Made before the fork, so that both sides have it."""

    def __init__(self) -> None:
        self._memory = mmap.mmap(-1, mmap.PAGESIZE)
        self.parent_end, self.horse_end = socket.socketpair()

    def write(self, state: State) -> None:
        """Say what comes now."""
        phase, claim, job, execution, origin, began, deadline = state
        _STATE.pack_into(
            self._memory,
            _STATE_OFFSET,
            phase,
            claim.encode(),
            job.encode(),
            execution.encode(),
            origin.encode(),
            began,
            deadline,
        )

    def read(self) -> State:
        """What the horse said last."""
        phase, *texts, began, deadline = _STATE.unpack_from(self._memory, _STATE_OFFSET)
        claim, job, execution, origin = (text.rstrip(b"\0").decode() for text in texts)
        return State(Phase(phase), claim, job, execution, origin, began, deadline)

    @property
    def stop(self) -> bool:
        """Whether the horse shall claim nothing more."""
        return bool(_STOP.unpack_from(self._memory)[0])

    @stop.setter
    def stop(self, value: bool) -> None:
        _STOP.pack_into(self._memory, 0, value)

    @property
    def last_line(self) -> str:
        """What the job has logged last."""
        length, text = _LINE.unpack_from(self._memory, _LINE_OFFSET)
        return str(text[:length].decode(errors="ignore"))

    @last_line.setter
    def last_line(self, line: str) -> None:
        text = line[:400].encode(errors="replace")[:400]
        _LINE.pack_into(self._memory, _LINE_OFFSET, len(text), text)

    def tell(self, line: bytes) -> None:
        """Horse to parent."""
        self.horse_end.sendall(line + b"\n")

    def close(self) -> None:
        """Give the memory and the sockets back."""
        self.parent_end.close()
        self.horse_end.close()
        self._memory.close()
