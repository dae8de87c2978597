"""The threads in which an I/O process runs functions: made when they are needed, and kept."""

import contextlib
import ctypes
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from queue import SimpleQueue
from typing import Any

STACK_BYTES = 1 << 20  # of address space, not of memory: C code of libraries recurses, too
M_ARENA_MAX = -8  # <malloc.h>
SWITCH_SECONDS = 0.0005  # Python's own 0.005 costs each call of Redis up to 15 ms in a busy process
ARENAS = 2  # each thread would get one of its own, up to 16 on two cores, and each keeps what was freed in it


class Threads:
    """Runs each function in a thread of its own. The functions are given by one thread only."""

    def __init__(self) -> None:
        self._waiting: SimpleQueue[Callable[[], bool]] = SimpleQueue()
        self._idle = threading.Semaphore(0)
        self._made = 0

    def run(self, function: Callable[[], bool]) -> None:
        """Call `function` in a thread; if it returns False, its thread must not be used again."""
        if not self._idle.acquire(blocking=False):
            self._made += 1
            threading.Thread(target=self._work, name=f"io-{self._made}", daemon=True).start()
        self._waiting.put(function)

    def _work(self) -> None:
        # An exception that `raise_in_thread` has raised may come when the function has just ended.
        with contextlib.suppress(BaseException):
            while self._waiting.get()():
                self._idle.release()


def raise_in_thread(thread: int, error: type[BaseException]) -> None:
    """Raise an exception in a thread, as soon as that thread runs Python code again."""
    ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread), ctypes.py_object(error))


def share_fairly() -> None:
    """Let a thread that waits for Python's lock get it soon: the one that talks to Redis waits at each answer."""
    sys.setswitchinterval(SWITCH_SECONDS)


def spare_memory() -> None:
    """Let the threads of this process share the memory that they have freed, and have small stacks."""
    threading.stack_size(STACK_BYTES)
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)  # glibc has it
    if mallopt:
        mallopt(M_ARENA_MAX, ARENAS)


def inherit_context() -> None:
    """Let the threads that a job starts belong to its run: they get the contextvars of the code that starts them.

    `asyncio.to_thread` does that by itself. Python 3.14 has an option for threads, which executors do not follow.
    """
    start, submit = threading.Thread.start, ThreadPoolExecutor.submit

    def start_in_context(thread: threading.Thread) -> None:
        run, context = thread.run, copy_context()
        thread.run = lambda: context.run(run)  # type: ignore[method-assign]
        start(thread)

    def submit_in_context(executor: ThreadPoolExecutor, function: Any, /, *args: Any, **kwargs: Any) -> Any:
        return submit(executor, copy_context().run, function, *args, **kwargs)

    threading.Thread.start = start_in_context  # type: ignore[assignment,method-assign]
    ThreadPoolExecutor.submit = submit_in_context  # type: ignore[assignment,method-assign]
