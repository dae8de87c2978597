"""`make bench-web`: measures this project's web server beside others, in one run; needs wrk (apt install wrk).

Requests a second and latency of POST /tasks and GET /tasks/<id>, two web processes each, all with an access log;
where a process spends its time (py-spy); bulk submission beside RQ's own; the time of a page of GET /tasks as the
number of stored tasks grows. The figures go to benchmarks/serving.md and serving.json.
"""

import json
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from statistics import median
from tempfile import NamedTemporaryFile
from typing import Any
from urllib.request import Request, urlopen

from measure import LIMIT_SECONDS, Server, cpu_seconds, run, table, wait, workers
from sampled import LAYERS, PY_SPY, shares
from systems import APPS, ENVIRONMENTS, OURS, ROOT, System, environment, install

from taskqueue.programs.redis_server import free_port
from taskqueue.settings.api_keys import new_key

RESULTS = ROOT / "benchmarks" / "serving"
PROCESSES = 2
CLIENTS = 16
SECONDS = 2
ROUNDS = 4
PROFILE_SECONDS = 4
BUSY_SECONDS = 0.5  # over which the busiest process is found
BULK_TASKS = 10_000
KEPT = (1_000, 10_000, 100_000, 1_000_000)
PAGES = 50
PROFILED_CLIENTS = (1, 4, 16, 64)
SECRET, KEY = new_key("bench", "operate")
GUARDS = ("env", f"API_KEYS={KEY.entry()}", "RATE_LIMIT=999999999/s")  # above every rate, but counted
POST = f"""
wrk.method = "POST"
wrk.body = '{{"to": "ada@example.com"}}'
wrk.headers["Content-Type"] = "application/json"
wrk.headers["Authorization"] = "Bearer {SECRET}"
"""
GET = f'wrk.headers["Authorization"] = "Bearer {SECRET}"'
ADDRESS = "/tasks?task_type=noop"
FASTAPI = System(
    name="FastAPI",
    app="guide_fastapi",
    worker=(),
    queue="tasks:default",
    packages=("fastapi", "uvicorn[standard]", "redis"),
)


def _gunicorn(port: int) -> list[str]:
    return [str(OURS / "gunicorn"), "--bind", f"127.0.0.1:{port}", "--log-level", "error"]


def project(port: int) -> list[str]:
    """Return the command line of this project's web server on this port."""
    settings = str(ROOT / "taskqueue" / "web" / "gunicorn_conf.py")
    return [*_gunicorn(port), "-c", settings, "web.wsgi:app"]


def servers(port: int) -> dict[str, list[str]]:
    """Return the command line of each web server on this port, by its name."""
    commands = {
        "this project": project(port),
        "… with keys and limits": [*GUARDS, *project(port)],
        "Flask and Queue.enqueue": [
            *_gunicorn(port),
            *("-w", str(PROCESSES), "--threads", "8", "--access-logfile", "-", "naive_flask:app"),
        ],
    }
    if install(FASTAPI):
        uvicorn = str(ENVIRONMENTS / FASTAPI.app / "bin" / "uvicorn")
        options = ("--port", str(port), "--workers", str(PROCESSES))
        commands["FastAPI, list and key"] = [uvicorn, *options, "guide_fastapi:app"]
    return commands


def posts(server: Server) -> dict[str, dict[str, float]]:
    """Measure POST /tasks under load."""
    return _beside(server, lambda address: address + ADDRESS, POST, list(servers(0)))


def shows(server: Server) -> dict[str, dict[str, float]]:
    """Measure GET /tasks/<id> under load."""
    names = [name for name in servers(0) if name != "Flask and Queue.enqueue"]  # it has no such address
    return _beside(server, lambda address: f"{address}/tasks/{submitted(address)}", GET, names)


def _beside(
    server: Server, address_of: Callable[[str], str], lua: str, names: list[str]
) -> dict[str, dict[str, float]]:
    """Measure these servers in turn, while all run; return the medians of the rounds, by server."""
    rounds: dict[str, list[dict[str, float]]] = {}
    server.connection.flushall()
    with ExitStack() as stack:
        script = stack.enter_context(NamedTemporaryFile("w", suffix=".lua"))
        script.write(lua)
        script.flush()
        running = {}
        for name in names:
            port = free_port()
            pids = stack.enter_context(workers([servers(port)[name]], server))
            root = f"http://127.0.0.1:{port}"
            wait(lambda root=root: answers(root + ADDRESS), 20)
            running[name] = (address_of(root), pids)
            load(running[name][0], script.name, SECONDS)
        for _ in range(ROUNDS):
            for name, (address, pids) in running.items():
                figures = measured(address, script.name, SECONDS, pids)
                rounds.setdefault(name, []).append(figures)
                delays = f"p50 {figures['p50']:.1f} ms, p99 {figures['p99']:.1f} ms, {figures['cpu_us']:.0f} µs"
                print(f"{name:<26} {figures['rate']:>7,.0f} requests/s, {delays}", flush=True)
    return {
        name: {key: median(figures[key] for figures in bursts) for key in bursts[0]}
        for name, bursts in rounds.items()
    }


def measured(address: str, script: str, seconds: int, pids: list[int], clients: int = CLIENTS) -> dict[str, float]:
    """Run wrk and return its figures, with the microseconds of processor that the server takes for a request."""
    before = sum(cpu_seconds(pids).values())
    figures = load(address, script, seconds, clients)
    used = sum(cpu_seconds(pids).values()) - before
    return figures | {"cpu_us": used / (figures["rate"] * seconds) * 1e6}


def profile(server: Server) -> dict[str, dict[str, float]]:
    """Return the microseconds that each layer takes for a POST /tasks, by kind of process and clients."""
    if not install(PY_SPY):
        raise SystemExit("profile: pip cannot install py-spy")
    found = {}
    for kind in ("gevent", "gthread"):
        for clients in PROFILED_CLIENTS:
            port = free_port()
            server.connection.flushall()
            command = [*project(port), *(("-k", "gthread", "--threads", "32") if kind == "gthread" else ())]
            with (
                workers([command], server) as pids,
                NamedTemporaryFile("w", suffix=".lua") as script,
                ThreadPoolExecutor(1) as threads,
            ):
                script.write(POST)
                script.flush()
                address = f"http://127.0.0.1:{port}{ADDRESS}"
                wait(lambda address=address: answers(address), 20)
                load(address, script.name, 1, clients)
                measuring = threads.submit(measured, address, script.name, PROFILE_SECONDS, pids, clients)
                sampled = shares(busiest(pids), PROFILE_SECONDS - 2)
                figures = measuring.result()
                layers = {name: share * figures["cpu_us"] for name, share in sampled.items()}
            found[f"{kind}, {clients}"] = {"cpu_us": figures["cpu_us"], **layers}
            print(kind, clients, found[f"{kind}, {clients}"], flush=True)
    return found


def busiest(pids: list[int]) -> int:
    """Return the process of the server that works most: a single client has one process, the others idle."""
    before = cpu_seconds(pids)
    time.sleep(BUSY_SECONDS)
    return max(cpu_seconds(pids).items(), key=lambda used: used[1] - before.get(used[0], 0.0))[0]


def load(address: str, script: str, seconds: int, clients: int = CLIENTS) -> dict[str, float]:
    """Run wrk and return its figures. Raises SystemExit if a request was refused."""
    command = ["wrk", "-t1", f"-c{clients}", f"-d{seconds}s", "--latency", "-s", script, address]
    output = subprocess.run(command, check=True, capture_output=True, text=True, timeout=LIMIT_SECONDS).stdout
    if refused := re.search(r"Non-2xx or 3xx responses: \d+", output):
        raise SystemExit(f"{address}: {refused[0]}")
    rate = float(re.search(r"Requests/sec: +([\d.]+)", output)[1])
    return {"rate": rate, "p50": _milliseconds(output, "50"), "p99": _milliseconds(output, "99")}


def _milliseconds(output: str, percent: str) -> float:
    number, unit = re.search(rf"^ +{percent}% +([\d.]+)(us|ms|s)$", output, re.MULTILINE).groups()
    return float(number) * {"us": 0.001, "ms": 1, "s": 1000}[unit]


def answers(address: str) -> bool:
    """Return whether POST /tasks at this address accepts a task."""
    headers = {"Content-Type": "application/json", "Authorization": f"Bearer {SECRET}"}
    request = Request(address, b'{"to": "ada@example.com"}', headers)
    try:
        with urlopen(request, timeout=5):
            return True
    except OSError:
        return False


def submitted(address: str) -> str:
    """Queue a task and return its id."""
    headers = {"Content-Type": "application/json", "Authorization": f"Bearer {SECRET}"}
    with urlopen(Request(address + ADDRESS, b'{"to": "ada@example.com"}', headers), timeout=5) as answer:
        return json.load(answer)["id"]


def bulk(server: Server) -> dict[str, dict[str, float]]:
    """Queue ten thousand tasks at once: by one request to this project, and by RQ's enqueue_many in a process."""
    body = json.dumps([{"task_type": "noop", "payload": {"to": "ada@example.com"}}] * BULK_TASKS).encode()
    server.connection.flushall()
    port = free_port()
    with workers([project(port)], server):
        address = f"http://127.0.0.1:{port}"
        wait(lambda: answers(address + ADDRESS), 20)
        request = Request(f"{address}/tasks/bulk", body, {"Content-Type": "application/json"})
        began = time.monotonic()
        with urlopen(request, timeout=LIMIT_SECONDS) as answer:
            answer.read()
        ours = BULK_TASKS / (time.monotonic() - began)
    code = (
        "import time, rq_app\nfrom rq import Queue\n"
        "began = time.monotonic()\n"
        "call = dict(func='rq_app.noop', kwargs={'to': 'ada@example.com'})\n"
        f"jobs = [Queue.prepare_data(**call) for _ in range({BULK_TASKS})]\n"
        "rq_app.queue.enqueue_many(jobs)\n"
        f"print({BULK_TASKS} / (time.monotonic() - began))"
    )
    rq_rate = subprocess.run(
        [sys.executable, "-c", code], cwd=APPS, env=environment(server.url), check=True, capture_output=True
    ).stdout
    rates = {"POST /tasks/bulk": {"rate": ours}, "RQ's enqueue_many": {"rate": float(rq_rate)}}
    for name, figures in rates.items():
        print(f"{name:<26} {figures['rate']:>7,.0f} tasks/s", flush=True)
    return rates


def pages(server: Server) -> dict[str, dict[str, float]]:
    """Measure a page of GET /tasks as the number of stored tasks grows."""
    times = {}
    server.connection.flushall()
    port = free_port()
    with workers([project(port)], server):
        address = f"http://127.0.0.1:{port}"
        wait(lambda: answers(address + ADDRESS), 20)
        stored = 1
        for count in KEPT:
            while stored < count:
                some = min(BULK_TASKS, count - stored)
                body = json.dumps([{"task_type": "noop", "payload": {}}] * some).encode()
                with urlopen(
                    Request(f"{address}/tasks/bulk", body, {"Content-Type": "application/json"}), timeout=60
                ) as answer:
                    answer.read()
                stored += some
            times[str(count)] = {
                "newest": page_ms(f"{address}/tasks"),
                "queued": page_ms(f"{address}/tasks?status=queued"),
                "failed": page_ms(f"{address}/tasks?status=failed"),
            }
            print(f"{count:>9,} tasks: {times[str(count)]}", flush=True)
    return times


def page_ms(address: str) -> float:
    """Return the median time of one page, in milliseconds."""
    times = []
    for _ in range(PAGES):
        began = time.monotonic()
        with urlopen(address, timeout=LIMIT_SECONDS) as answer:
            answer.read()
        times.append((time.monotonic() - began) * 1000)
    return median(times)


def report(results: dict[str, Any]) -> str:
    """Return benchmarks/serving.md."""
    bulk_rates = results["bulk"]
    return "\n".join(
        [
            "# This project's web server beside others",
            "",
            f"{results['machine']}. Written by `make bench-web`, each table in one run.",
            "",
            f"## POST /tasks: {PROCESSES} web processes, {CLIENTS} clients",
            "",
            f"The medians of {ROUNDS} rounds of {SECONDS} seconds; each round measures every server in turn, while"
            " the others are idle. All write an access log.",
            "",
            _servers(results["posts"]),
            "",
            "## GET /tasks/<id>",
            "",
            _servers(results["shows"]),
            "",
            "## Where the time of a POST /tasks goes",
            "",
            "Microseconds of processor a request, by layer and by the number of clients, from py-spy's samples of"
            " one process. What the system does for a layer (a send, a wait) counts for the layer; gevent's loop"
            " is spread over all. `gthread` is the same application on gunicorn's threads.",
            "",
            table(
                ["", *results["profile"]],
                [
                    [name, *(f"{figures.get(name, 0):.0f}" for figures in results["profile"].values())]
                    for name in LAYERS
                ]
                + [["all", *(f"{figures['cpu_us']:.0f}" for figures in results["profile"].values())]],
            ),
            "",
            f"## {BULK_TASKS:,} tasks at once",
            "",
            table(["", "tasks/s"], [[name, f"{figures['rate']:,.0f}"] for name, figures in bulk_rates.items()]),
            "",
            "## One page of GET /tasks, in milliseconds",
            "",
            table(
                ["tasks stored", "newest", "status=queued", "status=failed (none)"],
                [
                    [
                        f"{int(count):,}",
                        f"{figures['newest']:.1f}",
                        f"{figures['queued']:.1f}",
                        f"{figures['failed']:.1f}",
                    ]
                    for count, figures in results["pages"].items()
                ],
            ),
            "",
        ]
    )


def _servers(results: dict[str, dict[str, float]]) -> str:
    ours = results["this project"]["rate"]
    return table(
        ["", "requests/s", "× ours is faster", "p50, ms", "p99, ms", "processor, µs a request"],
        [
            [
                name,
                f"{figures['rate']:,.0f}",
                f"{ours / figures['rate']:.2f}",
                f"{figures['p50']:.1f}",
                f"{figures['p99']:.1f}",
                f"{figures['cpu_us']:.0f}",
            ]
            for name, figures in results.items()
        ],
    )


def main(parts: list[str]) -> None:
    """Measure the named parts, or all."""
    if not shutil.which("wrk"):
        raise SystemExit("make bench-web: wrk is missing; apt install wrk, or brew install wrk")
    run(RESULTS, {"posts": posts, "shows": shows, "profile": profile, "bulk": bulk, "pages": pages}, parts, report)


if __name__ == "__main__":
    main(sys.argv[1:])
