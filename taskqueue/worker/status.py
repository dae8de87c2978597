"""How a worker stands, in memory that it shares with the process that tells it over HTTP (status_server.py).

The worker's loop only writes here and waits for nobody, so a loop that hangs is seen from outside.
"""

import json
import mmap
import struct
import time

from taskqueue.telemetry.report import Report

_TURN = struct.Struct("d")
_WHICH = struct.Struct("B")
_WHICH_OFFSET = 8
_LENGTH = struct.Struct("I")
_REPORTS_OFFSET = 64
_REPORT_BYTES = 1024 * 1024  # memory that is not written takes no place


class Status:
    """One worker's share. Made before the fork, so that both sides have it."""

    def __init__(self) -> None:
        self._memory = mmap.mmap(-1, _REPORTS_OFFSET + 2 * _REPORT_BYTES)
        self.turned()
        self.tell(Report())

    def turned(self) -> None:
        """The loop goes round."""
        _TURN.pack_into(self._memory, 0, time.monotonic())

    @property
    def silent_seconds(self) -> float:
        """How long ago it went round last."""
        return max(0.0, time.monotonic() - float(_TURN.unpack_from(self._memory)[0]))

    def tell(self, report: Report) -> None:
        """Put a report in the place of the last one."""
        text = json.dumps(report).encode()
        if len(text) > _REPORT_BYTES - _LENGTH.size:
            return
        # Two places, in turn: the one that is being read stays whole until the report after this one.
        which = 1 - self._which
        place = _REPORTS_OFFSET + which * _REPORT_BYTES
        _LENGTH.pack_into(self._memory, place, len(text))
        self._memory[place + _LENGTH.size : place + _LENGTH.size + len(text)] = text
        _WHICH.pack_into(self._memory, _WHICH_OFFSET, which)

    def read(self) -> Report:
        """The last report."""
        place = _REPORTS_OFFSET + self._which * _REPORT_BYTES
        (length,) = _LENGTH.unpack_from(self._memory, place)
        return Report(*json.loads(self._memory[place + _LENGTH.size : place + _LENGTH.size + length]))

    @property
    def _which(self) -> int:
        return int(_WHICH.unpack_from(self._memory, _WHICH_OFFSET)[0])
