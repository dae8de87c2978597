"""What a process does when it starts to run jobs, and before it ends: it opens and closes what its jobs share.

A work-horse calls `starts` after its fork, before its first job, and so does the I/O process. `ends` comes after
the last job. A process that is killed calls no `ends`.
"""

import logging
from collections.abc import Callable

log = logging.getLogger(__name__)

_at_start: list[Callable[[], object]] = []
_at_end: list[Callable[[], object]] = []


def at_start(act: Callable[[], object]) -> None:
    """Call `act` when a process starts to run jobs: in its main thread, in the order of these calls."""
    _at_start.append(act)


def at_end(act: Callable[[], object]) -> None:
    """Call `act` before a process ends that has run jobs: in its main thread, the last one first."""
    _at_end.append(act)


def starts() -> None:
    """Call what is to be called at the start. Raises what it raises: the process cannot run jobs."""
    for act in _at_start:
        act()


def ends() -> None:
    """Call what is to be called at the end; an error is logged, and the rest goes on."""
    for act in reversed(_at_end):
        try:
            act()
        except Exception:
            log.exception("%s failed at the end of a process", getattr(act, "__qualname__", act))
