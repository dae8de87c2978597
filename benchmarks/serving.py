"""`make bench-web`: measures this project's web server beside others, in one run; needs wrk (apt install wrk).

Requests a second and latency of POST /tasks, two web processes each; bulk submission beside RQ's own; the time of
a page of GET /tasks as the number of stored tasks grows. The figures go to benchmarks/serving.md and serving.json.
"""

import json
import re
import shutil
import subprocess
import sys
import time
from statistics import median
from tempfile import NamedTemporaryFile
from typing import Any
from urllib.request import Request, urlopen

from measure import LIMIT_SECONDS, Server, run, table, wait, workers
from systems import APPS, ENVIRONMENTS, OURS, ROOT, System, environment, install

from taskqueue.programs.redis_server import free_port
from taskqueue.settings.api_keys import new_key

RESULTS = ROOT / "benchmarks" / "serving"
PROCESSES = 2
CLIENTS = 16
SECONDS = 6
ROUNDS = 3
BULK_TASKS = 10_000
KEPT = (1_000, 10_000, 100_000, 1_000_000)
PAGES = 50
SECRET, KEY = new_key("bench", "submit")
GUARDS = ("env", f"API_KEYS={KEY.entry()}", "RATE_LIMIT=999999999/s")  # above every rate, but counted
POST = f"""
wrk.method = "POST"
wrk.body = '{{"to": "ada@example.com"}}'
wrk.headers["Content-Type"] = "application/json"
wrk.headers["Authorization"] = "Bearer {SECRET}"
"""
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
    return [*_gunicorn(port), "-c", settings, "web.wsgi:app", "--access-logfile", "/dev/null"]


def servers(port: int) -> dict[str, list[str]]:
    """Return the command line of each web server on this port, by its name."""
    commands = {
        "this project": project(port),
        "… with keys and limits": [*GUARDS, *project(port)],
        "Flask and Queue.enqueue": [*_gunicorn(port), "-w", str(PROCESSES), "--threads", "8", "naive_flask:app"],
    }
    if install(FASTAPI):
        uvicorn = str(ENVIRONMENTS / FASTAPI.app / "bin" / "uvicorn")
        options = ("--port", str(port), "--workers", str(PROCESSES), "--log-level", "error")
        commands["FastAPI, list and key"] = [uvicorn, *options, "guide_fastapi:app"]
    return commands


def posts(server: Server) -> dict[str, dict[str, float]]:
    """Measure POST /tasks under load; return the medians of the rounds, by server."""
    rounds: dict[str, list[dict[str, float]]] = {}
    for _ in range(ROUNDS):
        for name in servers(0):
            port = free_port()
            server.connection.flushall()
            with workers([servers(port)[name]], server), NamedTemporaryFile("w", suffix=".lua") as script:
                script.write(POST)
                script.flush()
                address = f"http://127.0.0.1:{port}{ADDRESS}"
                wait(lambda address=address: answers(address), 20)
                load(address, script.name, 2)
                figures = load(address, script.name, SECONDS)
            rounds.setdefault(name, []).append(figures)
            delays = f"p50 {figures['p50']:.1f} ms, p99 {figures['p99']:.1f} ms"
            print(f"{name:<26} {figures['rate']:>7,.0f} requests/s, {delays}", flush=True)
    return {
        name: {key: median(figures[key] for figures in measured) for key in measured[0]}
        for name, measured in rounds.items()
    }


def load(address: str, script: str, seconds: int) -> dict[str, float]:
    """Run wrk and return its figures. Raises SystemExit if a request was refused."""
    command = ["wrk", "-t1", f"-c{CLIENTS}", f"-d{seconds}s", "--latency", "-s", script, address]
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
    ours = results["posts"]["this project"]["rate"]
    bulk_rates = results["bulk"]
    return "\n".join(
        [
            "# This project's web server beside others",
            "",
            f"{results['machine']}. Written by `make bench-web`, each table in one run.",
            "",
            f"## POST /tasks: {PROCESSES} web processes, {CLIENTS} clients",
            "",
            f"The medians of {ROUNDS} rounds; each round measures every server.",
            "",
            table(
                ["", "requests/s", "× ours is faster", "p50, ms", "p99, ms"],
                [
                    [
                        name,
                        f"{figures['rate']:,.0f}",
                        f"{ours / figures['rate']:.2f}",
                        f"{figures['p50']:.1f}",
                        f"{figures['p99']:.1f}",
                    ]
                    for name, figures in results["posts"].items()
                ],
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


def main(parts: list[str]) -> None:
    """Measure the named parts, or all."""
    if not shutil.which("wrk"):
        raise SystemExit("make bench-web: wrk is missing; apt install wrk, or brew install wrk")
    run(RESULTS, {"posts": posts, "bulk": bulk, "pages": pages}, parts, report)


if __name__ == "__main__":
    main(sys.argv[1:])
