"""`make bench-console`: measures each page of the console with a million tasks, 10,000 of them failed in 50 ways.

For each page: the first look of a new web process, the median of later looks, and what a look costs Redis. Each
page is asked of a process of its own, started two seconds before as `taskqueue web` does. The figures go to
benchmarks/console.md. With the port of a Redis as its argument, it uses that one, and fills it if it is empty:
that takes half a minute.
"""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from http import HTTPStatus
from http.client import HTTPConnection
from statistics import median
from urllib.parse import quote

from flask import Flask
from measure import Server, machine, redis_server, table, wait
from redis import Redis
from systems import ROOT

from taskqueue.jobtypes.registry import job, registered
from taskqueue.programs.redis_server import free_port
from taskqueue.programs.web import command as command_of
from taskqueue.settings import Settings
from taskqueue.store.keys import INDEX, job_key, type_index_key
from web import create_app

TASKS = 1_000_000
FAILED = 10_000
STEP = 10_000  # tasks of one call of the script
LOOKS = 7
REDIS_LOOKS = 20
START_SECONDS = 30
WARM_UP_SECONDS = 2.0  # a process says nowhere that it has warmed up: in production nobody waits for it

# Tasks as enqueue.lua and settle_and_claim.lua leave them: twenty types, three queues, ten thousand customers.
FILL = """
local first, count, now = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local failed, total = tonumber(ARGV[4]), tonumber(ARGV[5])
local QUEUES, TYPES, KINDS = { 'high', 'default', 'low' }, 20, 50
local function stamp(microseconds)
    local seconds = math.floor(microseconds / 1e6)
    local days = math.floor(seconds / 86400)
    local z = days + 719468
    local era = math.floor(z / 146097)
    local doe = z - era * 146097
    local leaps = math.floor(doe / 1460) - math.floor(doe / 36524) + math.floor(doe / 146096)
    local yoe = math.floor((doe - leaps) / 365)
    local doy = doe - (365 * yoe + math.floor(yoe / 4) - math.floor(yoe / 100))
    local mp = math.floor((5 * doy + 2) / 153)
    local month = mp < 10 and mp + 3 or mp - 9
    return ('%04d-%02d-%02dT%02d:%02d:%02d.%06dZ'):format(yoe + era * 400 + (month <= 2 and 1 or 0), month,
        doy - math.floor((153 * mp + 2) / 5) + 1, math.floor(seconds / 3600) % 24, math.floor(seconds / 60) % 60,
        seconds % 60, microseconds % 1000000)
end
for number = first, first + count - 1 do
    local hex = redis.sha1hex(tostring(number))
    local id = hex:sub(1, 30):gsub('^(' .. ('.'):rep(8) .. ')(....)(...)(...)', '%1-%2-4%3-a%4-')
    local key, created = 'rq:job:' .. id, now - (total - number) * 86400
    local queue, kind = QUEUES[number % 3 + 1], 'type' .. number % TYPES
    local tag = 'customer:' .. number % 10007
    local fields = { 'created_at', stamp(created), 'enqueued_at', stamp(created), 'data',
        '["taskqueue.call.' .. kind .. '", null, [], {"to": "ada@example.com", "subject": "Hello"}]',
        'origin', queue, 'description', kind, 'timeout', 60, 'result_ttl', 86400, 'failure_ttl', 604800,
        'retries_left', 2, 'retry_intervals', '[10, 30]', 'tq:attempts', 3, 'tq:trace', hex:sub(1, 16),
        'tq:tags', tag }
    local function also(...)
        for _, value in ipairs({ ... }) do fields[#fields + 1] = value end
    end
    local ended = { 'started_at', stamp(created + 2e6), 'ended_at', stamp(created + 3e6),
        'worker_name', 'worker-1', 'tq:attempt', 1 }
    if number % (total / failed) == 0 then
        local error = ('%s Error%d: row N is bad'):format(kind, number / (total / failed) % KINDS)
        also('status', 'failed', 'tq:failure', redis.sha1hex(error):sub(1, 12) .. ' ' .. error, unpack(ended))
        redis.call('ZADD', 'rq:failed:' .. queue, created / 1e6 + 604803, id)
    elseif number % 10 < 5 then
        also('status', 'finished', unpack(ended))
        redis.call('ZADD', 'rq:finished:' .. queue, created / 1e6 + 86403, id)
    elseif number % 100 == 99 then
        also('status', 'canceled')
        redis.call('ZADD', 'rq:canceled:' .. queue, created / 1e6, id)
    elseif number % 20 == 19 then
        also('status', 'scheduled')
        redis.call('ZADD', 'rq:scheduled:' .. queue, now / 1e6 + number, id)
    else
        also('status', 'queued')
        redis.call('RPUSH', 'rq:queue:' .. queue, id)
    end
    redis.call('HSET', key, unpack(fields))
    redis.call('SADD', 'rq:queues', 'rq:queue:' .. queue)
    redis.call('ZADD', 'tq:index', created, id)
    redis.call('ZADD', 'tq:index:type:' .. kind, created, id)
    redis.call('ZADD', 'tq:index:tag:' .. tag, created, id)
    redis.call('SADD', 'tq:index:tags', 'tq:index:tag:' .. tag)
end
"""


def register_types() -> None:
    """Register the task types of the tasks."""
    for number in range(20):

        @job(f"type{number}")
        def send(to: str, subject: str) -> None:
            """Send an email."""


def fill(connection: Redis) -> None:
    """Write a million tasks, the latest of which is as old as this moment."""
    script = connection.register_script(FILL)
    now = int(time.time() * 1e6)
    for first in range(1, TASKS + 1, STEP):
        script(args=[first, STEP, now, FAILED, TASKS])


def addresses(connection: Redis) -> dict[str, str]:
    """Return what is measured: the name of each page, and its address."""
    newest, oldest = (connection.zrange(INDEX, place, place)[0].decode() for place in (-1, 0))
    group = connection.hget(job_key(connection.zrange("rq:failed:high", -1, -1)[0].decode()), "tq:failure")
    searches = {
        "status:queued": "status:queued",
        "status:failed type:type0": "status:failed type:type0",
        "a customer": "tag:customer:4711",
        "a group of failures": f"group:{group.decode()[:12]}",
        "the beginning of the newest id": f"id:{newest[:6]}",
        "the beginning of the oldest id": f"id:{oldest[:6]}",
        "an id that no task has": "id:ffffffff00",
    }
    actions = {
        "requeue 10,000 failed tasks": ("requeue", "status:failed"),
        "cancel all queued tasks of a type": ("cancel", "status:queued type:type7"),
        "delete what a customer has": ("delete", "tag:customer:4711"),
        "requeue a group": ("requeue", f"group:{group.decode()[:12]}"),
    }
    return {
        "Now": "/",
        "Tasks": "/tasks",
        **{f"Tasks: {name}": f"/tasks?q={quote(text)}" for name, text in searches.items()},
        "A task": f"/tasks/{oldest}",
        "Failures": "/failures",
        **{
            f"Bulk: {name}": f"/bulk/new?action={action}&q={quote(text)}"
            for name, (action, text) in actions.items()
        },
        **{name: f"/{name.lower()}" for name in ("Queues", "Workers", "Schedules", "Batches", "Bulk")},
        "Changes": "/changes",
        "Submit": "/submit",
        "Types": "/types",
    }


def web() -> Flask:
    """Return the application for gunicorn."""
    register_types()
    return create_app(Settings.read(os.environ), registered)


@contextmanager
def process(server: Server) -> Iterator[HTTPConnection]:
    """Start a web server with one process; yield a connection to it."""
    port = free_port()
    command = [*command_of(f"127.0.0.1:{port}", "console:web()"), "--pythonpath", str(ROOT / "benchmarks")]
    environ = {**os.environ, "TASK_QUEUE_URL": server.url, "WEB_PROCESSES": "1"}
    gunicorn = subprocess.Popen(
        command, cwd=ROOT, env=environ, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    connection = HTTPConnection("127.0.0.1", port)
    try:
        wait(lambda: answers(connection, "/healthz"), START_SECONDS)
        time.sleep(WARM_UP_SECONDS)
        connection.close()  # else the server has closed it, or is about to
        yield connection
    finally:
        connection.close()
        gunicorn.terminate()
        gunicorn.wait()


def answers(connection: HTTPConnection, path: str) -> bool:
    """Return whether the server answers a request with 200."""
    try:
        connection.request("GET", path)
        response = connection.getresponse()
        response.read()
    except OSError:
        connection.close()
        return False
    return response.status == HTTPStatus.OK


def measured(server: Server, address: str) -> dict[str, float]:
    """Return the milliseconds of the first look of a new process, of later ones, and of Redis in each of these."""

    def look() -> float:
        began = time.perf_counter()
        if not answers(connection, f"/console{address}"):
            raise SystemExit(f"{address} is not answered")
        return (time.perf_counter() - began) * 1000

    with process(server) as connection:
        first = look()
        later = [look() for _ in range(LOOKS)]
        before = server.cpu_seconds()
        for _ in range(REDIS_LOOKS):
            look()
        used = server.cpu_seconds() - before
    return {"first": first, "later": median(later), "redis": used / REDIS_LOOKS * 1000}


def report(on: str, results: dict[str, dict[str, float]]) -> str:
    """Return benchmarks/console.md."""
    rows = [
        [name, *(f"{figures[kind]:.1f}" for kind in ("first", "later", "redis"))]
        for name, figures in results.items()
    ]
    return "\n".join(
        [
            "# The console with a million tasks",
            "",
            f"{on}. Written by `make bench-console`: {TASKS:,} tasks of 20 types in 3 queues,"
            f" {FAILED:,} of them failed in 50 ways. Milliseconds.",
            "",
            table(["page", "first look of a new process", "later looks", "Redis, each look"], rows),
            "",
        ]
    )


def main(arguments: list[str]) -> None:
    register_types()
    with ExitStack() as stack:
        server = Server(int(arguments[0])) if arguments else stack.enter_context(redis_server())
        if not server.connection.exists(type_index_key("type0")):
            fill(server.connection)
        results = {}
        for name, address in addresses(server.connection).items():
            results[name] = measured(server, address)
            print(f"{name:<45}", *(f"{kind} {ms:>8.1f}" for kind, ms in results[name].items()), flush=True)
        text = report(machine(server), results)
    (ROOT / "benchmarks" / "console.md").write_text(text)


if __name__ == "__main__":
    main(sys.argv[1:])
