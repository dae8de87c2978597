"""The channel between a worker and one of its work-horses: shared memory, and a pair of sockets.

The horse writes what it is about to do before it does it. So the worker knows what a horse was doing when it died,
at whatever instruction:

    RESTING   it has nothing to do with Redis
    CLAIMING  it has sent `claim` to Redis: Redis may have given it a job under that execution's id, which has not
              begun; `execution` of `job`, if there is one, has run, and its outcome was sent with the claim
    RUNNING   `execution` of `job` has begun, and may run until `deadline`

The worker writes `stop`: settle what runs, claim nothing more, and end. The horse also writes the last line that
its job has logged, for the report of its death.

On the sockets the horse sends lines: IDLE (no job waits; it sleeps until it is woken), IDLE_OTHERS (only jobs of
another kind wait; it sleeps, too), SUSPENDED (`rq suspend` holds; it sleeps, too), `{…}` (what
`Tally` has counted) and `!…` (what Redis said when it refused the horse). The worker sends WAKE, a single byte.
"""

import contextlib
import mmap
import socket
import struct
import threading
from enum import IntEnum
from typing import NamedTuple

from taskqueue.store.keys import decoded

IDLE, IDLE_OTHERS, SUSPENDED, REFUSED, WAKE = b"i", b"o", b"s", b"!", b"w"

_STOP = struct.Struct("?")
_STATE = struct.Struct("B40s128s40s128sdd")  # in practice, RQ's ids are no longer than this
_STATE_OFFSET = 8
_LINE = struct.Struct("H400s")
_LINE_OFFSET = 1024


class Phase(IntEnum):
    """What a horse is doing."""

    RESTING = 0
    CLAIMING = 1
    RUNNING = 2


class State(NamedTuple):
    """What a horse has written last."""

    phase: Phase
    claim: str = ""  # an execution's id
    job: str = ""
    execution: str = ""
    origin: str = ""  # the queue's name
    began: float = 0.0  # seconds since 1970
    deadline: float = 0.0  # on the monotonic clock; 0: none

    @property
    def executions(self) -> tuple[str, str]:
        """The ids of the executions that Redis may have for the horse."""
        return self.claim, self.execution


class HorseChannel:
    """The channel of one horse. It is made before the fork, so that both processes have it."""

    def __init__(self) -> None:
        self._memory = mmap.mmap(-1, mmap.PAGESIZE)
        self._sending = threading.Lock()
        self.parent_end, self.horse_end = socket.socketpair()

    def write(self, state: State) -> None:
        """Write what the horse is about to do."""
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
        """Return what the horse has written last."""
        phase, *texts, began, deadline = _STATE.unpack_from(self._memory, _STATE_OFFSET)
        claim, job, execution, origin = (decoded(text.rstrip(b"\0")) for text in texts)
        return State(Phase(phase), claim, job, execution, origin, began, deadline)

    @property
    def stop(self) -> bool:
        """Whether the horse must claim nothing more."""
        return bool(_STOP.unpack_from(self._memory)[0])

    @stop.setter
    def stop(self, value: bool) -> None:
        _STOP.pack_into(self._memory, 0, value)

    @property
    def last_line(self) -> str:
        """The last line that the job has logged."""
        length, text = _LINE.unpack_from(self._memory, _LINE_OFFSET)
        return str(text[:length].decode(errors="ignore"))

    @last_line.setter
    def last_line(self, line: str) -> None:
        text = line[:400].encode(errors="replace")[:400]
        _LINE.pack_into(self._memory, _LINE_OFFSET, len(text), text)

    def note_line(self, line: str) -> None:
        """Set the last line that the job has logged."""
        self.last_line = line

    def send(self, line: bytes) -> None:
        """Send a line from the horse to the worker; any thread may."""
        with self._sending:
            self.horse_end.sendall(line + b"\n")

    def send_refusal(self, message: str) -> None:
        """Tell the worker what Redis says when it refuses the horse; a message that finds no room is left out."""
        with contextlib.suppress(OSError):
            line = REFUSED + message.encode(errors="replace").replace(b"\n", b" ")[:1000] + b"\n"
            self.horse_end.send(line, socket.MSG_DONTWAIT)

    def close(self) -> None:
        """Close the memory and the sockets."""
        self.parent_end.close()
        self.horse_end.close()
        self._memory.close()
