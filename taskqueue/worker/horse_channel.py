"""The channel between a worker and one of its work-horses: shared memory, and a pair of sockets.

The horse writes what it is about to do before it does it. So the worker knows what a horse was doing when it died,
at whatever instruction:

    RESTING   it has nothing to do with Redis
    ARMED     it waits for a job, which Redis may claim for it under `claim`: see armed_claim.py
    CLAIMING  it has sent `claim` to Redis: Redis may have given it a job under that execution's id, which has not
              begun; `execution` of `job`, if there is one, has run, and its outcome was sent with the claim
    RUNNING   `execution` of `job` has begun, and may run until `deadline`

A horse may claim a group: several short jobs, which it runs one after another. Then it also writes the outcome of
each job that has ended, so that the worker knows of each job of the group whether it has ended, runs, or has not
begun. `ended` is how many bytes of outcomes are valid.

The worker writes `stop`: settle what runs, claim nothing more, and end; and `group_over`: begin no other job of
this group, because the worker puts them back, and stores what has ended. The horse also writes the last line that
its job has logged, for the report of its death.

On the sockets the horse sends lines: IDLE (no job waits; it sleeps until it is woken), IDLE_OTHERS (only jobs of
another kind wait; it sleeps, too), SUSPENDED (`rq suspend` holds; it sleeps, too), AWAKE (it was ARMED, and has
got a job), GROUPS (it claims groups), `{…}` (what `Tally` has counted) and `!…` (what Redis said when it refused
the horse). The worker sends WAKE, a single byte; or ARM, a byte (1: say AWAKE as soon as you have a job), and a
byte for each queue: 1 if the horse must not wait for its jobs.
"""

import contextlib
import marshal
import mmap
import re
import socket
import struct
import threading
from collections.abc import Iterator
from enum import IntEnum
from typing import Any, NamedTuple

from taskqueue.store.keys import decoded

IDLE, IDLE_OTHERS, SUSPENDED, AWAKE, GROUPS, REFUSED, WAKE, ARM = b"i", b"o", b"s", b"", b"g", b"!", b"w", b"a"
ANNOUNCE_GROUP_SECONDS = 0.5  # how often a horse says GROUPS, at most

_STOP_OFFSET, _GROUP_OVER_OFFSET, _COUNT_OFFSET = 0, 1, 2
_STATE = struct.Struct("B40s128s40s128sddH")  # in practice, RQ's ids are no longer than this
_STATE_OFFSETS = (64, 512)  # written in turn: a horse may die while it writes one
_LINE = struct.Struct("H400s")
_LINE_OFFSET = 1024
_LENGTH = struct.Struct("H")
_OUTCOMES_OFFSET = 2048
_OUTCOMES_BYTES = 16384 - _OUTCOMES_OFFSET


class Phase(IntEnum):
    """What a horse is doing."""

    RESTING = 0
    CLAIMING = 1
    RUNNING = 2
    ARMED = 3


class State(NamedTuple):
    """What a horse has written last."""

    phase: Phase
    claim: str = ""  # an execution's id
    job: str = ""
    execution: str = ""
    origin: str = ""  # the queue's name
    began: float = 0.0  # seconds since 1970
    deadline: float = 0.0  # on the monotonic clock; 0: none
    ended: int = 0  # how many bytes of outcomes of the group's jobs are valid

    @property
    def member(self) -> bytes:
        """The run as <job>:<execution>, as Redis keeps it."""
        return f"{self.job}:{self.execution}".encode()

    @property
    def runs_in_group(self) -> bool:
        """Whether the horse runs a job of a group, of which others may not have begun."""
        return self.phase is Phase.RUNNING and self.execution != self.claim

    def knows(self, job: str, execution: str) -> bool:
        """Return whether the horse runs or settles this execution of this job, or may have claimed it.

        One claim can have given other jobs besides, if the network has delivered it twice: the horse does not know
        those. It runs the jobs of a group in their order, so those before the one that runs are over.
        """
        if (job, execution) == (self.job, self.execution):
            return True
        if self.phase is Phase.RUNNING:
            is_to_begin = group_number(execution) > group_number(self.execution)
            return self.runs_in_group and is_to_begin and is_of_claim(execution, self.claim)
        return is_of_claim(execution, self.claim)


def is_of_claim(execution: str, claim: str) -> bool:
    """Return whether Redis gave this execution's id to a job for `claim`: alone, in a group, or with others."""
    return bool(claim) and (execution == claim or execution.startswith((f"{claim}.", f"{claim}-")))


def group_number(execution: str) -> int:
    """Return the place of an execution in its group, from 1 on; 0: it is in no group."""
    _, point, number = execution.rpartition(".")
    return int(number) if point and number.isdecimal() else 0


def place_in_claim(execution: str) -> int:
    """Return the place of an execution among those of its claim, from 1 on; 0: the claim gave this one alone."""
    place = re.search(r"[.-](\d+)$", execution, re.ASCII)
    return int(place[1]) if place else 0


class HorseChannel:
    """The channel of one horse. It is made before the fork, so that both processes have it."""

    def __init__(self) -> None:
        self._memory = mmap.mmap(-1, _OUTCOMES_OFFSET + _OUTCOMES_BYTES)
        self._sending = threading.Lock()
        self.parent_end, self.horse_end = socket.socketpair()

    def write(self, state: State) -> None:
        """Write what the horse is about to do."""
        phase, claim, job, execution, origin, began, deadline, ended = state
        count = (self._memory[_COUNT_OFFSET] + 1) % 256
        _STATE.pack_into(
            self._memory,
            _STATE_OFFSETS[count % 2],
            phase,
            claim.encode(),
            job.encode(),
            execution.encode(),
            origin.encode(),
            began,
            deadline,
            ended,
        )
        self._memory[_COUNT_OFFSET] = count

    def read(self) -> State:
        """Return what the horse has written last."""
        count = -1
        while count != self._memory[_COUNT_OFFSET]:  # else the horse has written twice meanwhile, over this one
            count = self._memory[_COUNT_OFFSET]
            phase, *texts, began, deadline, ended = _STATE.unpack_from(self._memory, _STATE_OFFSETS[count % 2])
        claim, job, execution, origin = (decoded(text.rstrip(b"\0")) for text in texts)
        return State(Phase(phase), claim, job, execution, origin, began, deadline, ended)

    def write_outcome(self, values: tuple[Any, ...], ended: int) -> int:
        """Write the outcome of a group's job behind `ended` bytes of earlier ones; return how many are valid then.

        The next state must have that number. Returns 0 if there is no room.
        """
        content = marshal.dumps(values)
        end = ended + _LENGTH.size + len(content)
        if end > _OUTCOMES_BYTES:
            return 0
        _LENGTH.pack_into(self._memory, _OUTCOMES_OFFSET + ended, len(content))
        self._memory[_OUTCOMES_OFFSET + ended + _LENGTH.size : _OUTCOMES_OFFSET + end] = content
        return end

    def read_outcomes(self, ended: int) -> Iterator[tuple[Any, ...]]:
        """Yield the outcomes in the first `ended` bytes."""
        at = _OUTCOMES_OFFSET
        while at < _OUTCOMES_OFFSET + ended:
            (length,) = _LENGTH.unpack_from(self._memory, at)
            at += _LENGTH.size + length
            yield marshal.loads(self._memory[at - length : at])  # noqa: S302  the horse has written it

    @property
    def stop(self) -> bool:
        """Whether the horse must claim nothing more."""
        return bool(self._memory[_STOP_OFFSET])

    @stop.setter
    def stop(self, value: bool) -> None:
        self._memory[_STOP_OFFSET] = value

    @property
    def group_over(self) -> bool:
        """Whether the worker has put back the jobs of the group that have not begun."""
        return bool(self._memory[_GROUP_OVER_OFFSET])

    @group_over.setter
    def group_over(self, value: bool) -> None:
        self._memory[_GROUP_OVER_OFFSET] = value

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
