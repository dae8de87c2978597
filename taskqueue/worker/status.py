"""The state of a worker, in memory that it shares with the process that serves it over HTTP (status_server.py).

The worker's loop only writes here and waits for nobody, so a loop that hangs can be seen from outside.
"""

import json
import mmap
import struct
import time

from taskqueue.telemetry.report import Report

_LOOPED_AT = struct.Struct("d")
_WHICH = struct.Struct("B")
_WHICH_OFFSET = 8
_LENGTH = struct.Struct("I")
_REPORTS_OFFSET = 64
_REPORT_BYTES = 1024 * 1024  # memory that is never written costs nothing


class Status:
    """The state of one worker. It is made before the fork, so that both processes have it."""

    def __init__(self) -> None:
        self._memory = mmap.mmap(-1, _REPORTS_OFFSET + 2 * _REPORT_BYTES)
        self.note_loop()
        self.write(Report())

    def note_loop(self) -> None:
        """Note that the worker's loop is running now."""
        _LOOPED_AT.pack_into(self._memory, 0, time.monotonic())

    @property
    def silent_seconds(self) -> float:
        """How many seconds ago the loop was running."""
        return max(0.0, time.monotonic() - float(_LOOPED_AT.unpack_from(self._memory)[0]))

    def write(self, report: Report) -> None:
        """Replace the last report."""
        text = json.dumps(report).encode()
        if len(text) > _REPORT_BYTES - _LENGTH.size:
            return
        # Two slots, in turn: a report that is being read stays whole until the report after the next.
        which = 1 - self._which
        offset = _REPORTS_OFFSET + which * _REPORT_BYTES
        _LENGTH.pack_into(self._memory, offset, len(text))
        self._memory[offset + _LENGTH.size : offset + _LENGTH.size + len(text)] = text
        _WHICH.pack_into(self._memory, _WHICH_OFFSET, which)

    def read(self) -> Report:
        """Return the last report."""
        offset = _REPORTS_OFFSET + self._which * _REPORT_BYTES
        (length,) = _LENGTH.unpack_from(self._memory, offset)
        return Report(*json.loads(self._memory[offset + _LENGTH.size : offset + _LENGTH.size + length]))

    @property
    def _which(self) -> int:
        return int(_WHICH.unpack_from(self._memory, _WHICH_OFFSET)[0])
