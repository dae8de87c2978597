"""Child processes of a worker, forked and never exec'd: the work-horses, and the one that serves its status."""

import contextlib
import ctypes
import logging
import os
import random
import signal
import sys
from collections.abc import Callable, Collection

from redis.exceptions import RedisError

from taskqueue.hooks.running import HookFailed

log = logging.getLogger(__name__)

PR_SET_PDEATHSIG = 1  # <sys/prctl.h>
LIBC = ctypes.CDLL(None)


def fork(run: Callable[[], None]) -> int:
    """Start a child process that calls `run` and that ends with this one; return its process id."""
    parent = os.getpid()
    pid = os.fork()
    if pid:
        return pid
    code = 1
    try:
        _begin(parent)
        run()
        code = 0
    except SystemExit:
        code = 0
    except RedisError as error:
        log.error("Worker child process ends, and a new one begins after a pause: Redis said: %s", error)  # noqa: TRY400
    except HookFailed as error:
        log.exception("Worker child process ends, and a new one begins after a pause: %s", error)
    except BaseException:
        log.critical("Worker child process crashed; please report this as a bug", exc_info=True)
    finally:
        logging.shutdown()
        os._exit(code)


def reap_orphans(own: Collection[int]) -> None:
    """Reap the ended processes that jobs left behind, but none of our `own` children, which others wait for.

    A container's first process becomes the parent of every orphan in it, and each would stay a zombie.
    """
    with contextlib.suppress(ChildProcessError):
        while ended := os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT):
            if ended.si_pid in own:
                return
            os.waitpid(ended.si_pid, 0)


def _begin(parent: int) -> None:
    os.setpgid(0, 0)  # only the worker gets the terminal's Ctrl-C, and it can kill this child with its children
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGCHLD):
        signal.signal(number, signal.SIG_IGN if number == signal.SIGINT else signal.SIG_DFL)
    signal.set_wakeup_fd(-1)
    if sys.platform == "linux":
        LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)  # the worker died before prctl was called
    random.seed()
