"""`doctor`: what is wrong with Redis, the workers and the web server; each finding with its mend."""

import argparse
import os
import time
from collections.abc import Iterator
from typing import Any, NamedTuple

import urllib3
from redis import Redis
from redis.exceptions import ResponseError
from rq import Worker
from rq.scheduler import RQScheduler

from taskqueue.command.screen import coloured, print_json
from taskqueue.connection import connect_for_requests, redis_errors
from taskqueue.errors import QueueUnavailable
from taskqueue.settings import Settings

OLDEST_REDIS = (6, 2)  # LMOVE, ZADD GT and what RQ itself needs
MAX_SKEW_SECONDS = 2.0
TIMEOUT_SECONDS = 5.0


class Finding(NamedTuple):
    """One thing that was looked at; `mend` says what to do where it is wrong."""

    about: str
    ok: bool
    found: str
    mend: str = ""


def add(commands: Any) -> None:
    """Add the command to the parser's."""
    parser = commands.add_parser(
        "doctor",
        help="look for what is wrong, and say the mend",
        description="Look at Redis, the workers and, with --url, the web server. Exit code 1: something is wrong.",
    )
    parser.set_defaults(run=run)


def run(asked: argparse.Namespace) -> int:
    """Print each finding; 1 if one of them is wrong."""
    settings = Settings.read(os.environ)
    connection = connect_for_requests(settings.redis_url)
    findings = list(_findings(connection, settings.queues))
    if asked.url:
        findings += _web(asked.url)
    if asked.json:
        print_json([finding._asdict() for finding in findings])
    else:
        for finding in findings:
            print(f"{coloured('ok' if finding.ok else 'wrong'):5} {finding.about:13} {finding.found}")
            if finding.mend and not finding.ok:
                print(f"{'':19} {finding.mend}")
    return 0 if all(finding.ok for finding in findings) else 1


def _findings(connection: Redis, queues: tuple[str, ...]) -> Iterator[Finding]:
    try:
        with redis_errors():
            info = connection.info()
    except QueueUnavailable as error:
        yield Finding("redis", False, f"{error} ({error.__cause__})", "Start it, or correct TASK_QUEUE_URL.")
        return
    for look in (_version, _eviction, _persistence, _memory):
        yield look(connection, info)
    yield _clock(connection)
    yield from _workers(connection, queues)


def _version(_connection: Redis, info: dict[str, Any]) -> Finding:
    version = str(info["redis_version"])
    new_enough = tuple(map(int, version.split(".")[:2])) >= OLDEST_REDIS
    return Finding(
        "version", new_enough, version, f"Use Redis {'.'.join(map(str, OLDEST_REDIS))} or newer, or Valkey."
    )


def _eviction(_connection: Redis, info: dict[str, Any]) -> Finding:
    policy = info.get("maxmemory_policy", "noeviction")
    mend = "With this policy a full Redis throws tasks away: CONFIG SET maxmemory-policy noeviction"
    return Finding("eviction", policy == "noeviction", policy, mend)


def _persistence(connection: Redis, info: dict[str, Any]) -> Finding:
    try:
        snapshots = connection.config_get("save").get("save", "")
    except ResponseError:  # a hosted Redis does not tell its settings
        snapshots = ""
    kept = "each change" if info.get("aof_enabled") else f"snapshots ({snapshots})" if snapshots else "nothing"
    mend = "A restart of Redis loses what has happened since: CONFIG SET appendonly yes"
    return Finding("persistence", bool(info.get("aof_enabled")), f"on disk: {kept}", mend)


def _memory(_connection: Redis, info: dict[str, Any]) -> Finding:
    used, limit = info["used_memory"], info.get("maxmemory", 0)
    return Finding(
        "memory",
        not limit or used < 0.9 * limit,
        f"{used / 2**20:,.0f} MiB used" + (f" of {limit / 2**20:,.0f}" if limit else ", no limit"),
        "Give it more, or keep results for a shorter time (RESULT_TTL_SECONDS).",
    )


def _clock(connection: Redis) -> Finding:
    before = time.time()
    seconds, microseconds = connection.time()
    skew = seconds + microseconds / 1e6 - (before + time.time()) / 2
    mend = "Let both machines take the time from NTP: tasks that wait for their time begin wrong."
    return Finding("clock", abs(skew) < MAX_SKEW_SECONDS, f"{skew:+.3f} s between Redis and this machine", mend)


def _workers(connection: Redis, queues: tuple[str, ...]) -> Iterator[Finding]:
    workers = Worker.all(connection=connection)
    for queue in queues:
        serving = sum(queue in worker.queue_names() for worker in workers)
        mend = f"Nobody takes tasks from it: python worker.py --queues {queue}"
        yield Finding(f"queue {queue}", serving > 0, f"{serving} workers", mend)
    moved = [queue for queue in queues if connection.exists(RQScheduler.get_locking_key(queue))]
    mend = "Tasks that wait for their time, and retries, do not move. Start a worker."
    yield Finding("scheduler", len(moved) == len(queues), f"for {', '.join(moved) or 'no queue'}", mend)


def _web(url: str) -> Iterator[Finding]:
    for about, address in (("web server", "/readyz"), ("dashboard", "/rq/")):
        yield _answers(about, url.rstrip("/") + address)


def _answers(about: str, url: str) -> Finding:
    try:
        status = urllib3.request("GET", url, timeout=TIMEOUT_SECONDS, retries=False).status
    except urllib3.exceptions.HTTPError as error:
        return Finding(about, False, f"{url}: {error}", "Start the web server, or correct --url.")
    return Finding(about, status in (200, 401), f"{url}: {status}", "Its log says why.")
