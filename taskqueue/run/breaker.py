"""Keeps tasks from asking a host that has just failed another task: a circuit breaker by host.

Callbacks, emails, feeds and all else that goes through run/outbound.py use it. A job of your own does so:

    with reaching("ldap.example.com", 636):
        ...  # connect, ask, read the answer

Outside a worker, in a stock RQ worker, in a job that needs RQ's own code, and while Redis is away, the block
simply runs: there a task cannot be put off without using up an attempt.
"""

import logging
import random
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from errno import EHOSTDOWN, EHOSTUNREACH, ENETUNREACH
from functools import lru_cache

from redis import Redis
from redis.exceptions import RedisError
from rq.timeouts import JobTimeoutException

from taskqueue.errors import HostPaused
from taskqueue.store.connection import connect_for_probes
from taskqueue.store.hosts import Host, HostKind, Hosts, Pause
from taskqueue.store.times import time_at, timestamp
from taskqueue.tasks.running import running_job

log = logging.getLogger(__name__)

UNREACHABLE = (EHOSTDOWN, EHOSTUNREACH, ENETUNREACH)
ASKED_SECONDS = (2.0, 10.0)  # while one task asks the host, the others wait for about so long
INTERRUPTED = (JobTimeoutException, HostPaused)  # the latter of another host, asked in the same block
MIN_TIMEOUT_SECONDS = 5.0
MAX_CAUSES = 10  # of an error


@contextmanager
def reaching(host: str, port: int, kind: HostKind = "other") -> Iterator[None]:
    """Ask a host for something in a `with` block, unless it has just failed another task.

    host: A host name or an address: no URL, because the name is shown to people.
    port: The port.
    kind: What the host is, for messages and metrics.

    Put into the block what talks with the host, and nothing else. If the block raises an error that was caused by
    a timeout, a refused connection, a network that cannot be reached or a name that cannot be resolved, no other
    task asks the host during a pause of 5 seconds, which doubles with each failure up to 5 minutes. Then one task
    asks again. Coroutines may await in the block.

    Raises `HostPaused` during a pause. If it leaves the job, the task is put off until the pause is over, and no
    attempt is used up.
    """
    hosts, asked = _hosts(), Host(kind, host, port)
    failures = 0
    with suppress(RedisError):
        failures = _checked(asked, hosts.enter(asked)).failures if hosts else 0
    began = time.monotonic()
    try:
        yield
    except BaseException as error:
        failed = note_failure(asked, error, time.monotonic() - began, failures)
        # A refusal is an answer; that the job was interrupted is none.
        if not failed and isinstance(error, Exception) and not isinstance(error, INTERRUPTED):
            _note_answer(hosts, asked, failures)
        raise
    else:
        _note_answer(hosts, asked, failures)


def check(host: str, port: int, kind: HostKind = "other") -> None:
    """Raise `HostPaused` if the host has just failed another task: before work that only it makes useful."""
    hosts, asked = _hosts(), Host(kind, host, port)
    if hosts:
        with suppress(RedisError):
            _checked(asked, hosts.look(asked))


def note_failure(asked: Host, error: BaseException, seconds: float, seen: int = 0) -> bool:
    """Begin a pause, if this error was caused by a host that cannot be reached; return whether it was.

    `seconds`: how long it took until the error. `seen`: the failures before that this task knew of.
    """
    why = _why(error, seconds)
    hosts = _hosts() if why else None
    if hosts:
        with suppress(RedisError):
            pause = hosts.failed(asked, seen, why)
            log.warning("The %s %s: no task asks it for %.0f s", asked.shown, why, pause.seconds)
    return bool(why)


def _hosts() -> Hosts | None:
    """Return the hosts' state, or None where a task cannot be put off."""
    job = running_job()
    # Only our worker's job has this attribute.
    return None if job is None or getattr(job, "needs_rqs_code", True) else _hosts_of(job.connection)


@lru_cache(maxsize=1)
def _hosts_of(connection: Redis) -> Hosts:
    return Hosts(connect_for_probes(connection))  # without Redis, no job waits long for what it can do without


def _checked(asked: Host, pause: Pause) -> Pause:
    if pause.is_open:
        return pause
    # A part is chance: a thousand tasks that wait must not all come back in the same second.
    if pause.state == "asked":
        seconds, then = random.uniform(*ASKED_SECONDS), "one task is asking again"  # noqa: S311
    else:
        seconds = pause.seconds * random.uniform(1, 1.25)  # noqa: S311
        then = f"next try in {pause.seconds:.0f} s"
    raise HostPaused(
        f"The {asked.shown} {pause.why} at {timestamp(time_at(pause.at))}; {then}.",
        seconds=seconds,
        host=asked.member,
    )


def _note_answer(hosts: Hosts | None, asked: Host, failures: int) -> None:
    if hosts and failures:  # usually there are none, and this costs no call
        with suppress(RedisError):
            hosts.answered(asked)
            log.info("The %s answers again", asked.shown)


def _why(error: BaseException, seconds: float) -> str:
    """Return what the host did, if the error was caused by a host that cannot be reached; otherwise ""."""
    cause: BaseException | None = error
    for _ in range(MAX_CAUSES):
        # A client may give a task a second: that says nothing of the host.
        out_of_time = isinstance(cause, JobTimeoutException) and seconds >= MIN_TIMEOUT_SECONDS
        if isinstance(cause, TimeoutError) or out_of_time:
            return f"did not answer in {seconds:.0f} s" if seconds >= 1 else "did not answer in time"
        if isinstance(cause, ConnectionRefusedError):
            return "refused the connection"
        if isinstance(cause, socket.gaierror):
            return "has a name that cannot be resolved"
        if isinstance(cause, OSError) and cause.errno in UNREACHABLE:
            return "is on a network that cannot be reached"
        cause = cause and (cause.__cause__ or cause.__context__)
    return ""
