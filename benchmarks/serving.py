"""`make bench-web`: this project's web server beside others, in one run; needs wrk (apt install wrk).

Requests a second and latency of POST /tasks, two web processes each; bulk submission beside RQ's own; the time of
a page of GET /tasks while more and more tasks are kept. The figures go to benchmarks/serving.md and serving.json.
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

from deploy.laptop import free_port
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
GUARDS = ("env", f"API_KEYS={KEY.entry()}", "RATE_LIMIT=999999999/s")  # more than anybody asks, and counted
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
    """The command line of this project's web server on this port."""
    settings = str(ROOT / "web" / "gunicorn_conf.py")
    return [*_gunicorn(port), "-c", settings, "web.wsgi:app", "--access-logfile", "/dev/null"]


def servers(port: int) -> dict[str, list[str]]:
    """The command line of each web server on this port."""
    found = {
        "this project": project(port),
        "… with keys and limits": [*GUARDS, *project(port)],
        "Flask and Queue.enqueue": [*_gunicorn(port), "-w", str(PROCESSES), "--threads", "8", "naive_flask:app"],
    }
    if install(FASTAPI):
        uvicorn = str(ENVIRONMENTS / FASTAPI.app / "bin" / "uvicorn")
        options = ("--port", str(port), "--workers", str(PROCESSES), "--log-level", "error")
        found["FastAPI, list and key"] = [uvicorn, *options, "guide_fastapi:app"]
    return found


def posts(server: Server) -> dict[str, dict[str, float]]:
    """POST /tasks under load: of each server the median of the rounds."""
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
                one = load(address, script.name, SECONDS)
            rounds.setdefault(name, []).append(one)
            print(
                f"{name:<26} {one['rate']:>7,.0f} requests/s, p50 {one['p50']:.1f} ms, p99 {one['p99']:.1f} ms",
                flush=True,
            )
    return {
        name: {figure: median(one[figure] for one in some) for figure in some[0]} for name, some in rounds.items()
    }


def load(address: str, script: str, seconds: int) -> dict[str, float]:
    """What wrk measures. Raises where a request was refused."""
    command = ["wrk", "-t1", f"-c{CLIENTS}", f"-d{seconds}s", "--latency", "-s", script, address]
    told = subprocess.run(command, check=True, capture_output=True, text=True, timeout=LIMIT_SECONDS).stdout
    if refused := re.search(r"Non-2xx or 3xx responses: \d+", told):
        raise SystemExit(f"{address}: {refused[0]}")
    rate = float(re.search(r"Requests/sec: +([\d.]+)", told)[1])
    return {"rate": rate, "p50": _milliseconds(told, "50"), "p99": _milliseconds(told, "99")}


def _milliseconds(told: str, percent: str) -> float:
    number, unit = re.search(rf"^ +{percent}% +([\d.]+)(us|ms|s)$", told, re.MULTILINE).groups()
    return float(number) * {"us": 0.001, "ms": 1, "s": 1000}[unit]


def answers(address: str) -> bool:
    headers = {"Content-Type": "application/json", "Authorization": f"Bearer {SECRET}"}
    request = Request(address, b'{"to": "ada@example.com"}', headers)
    try:
        with urlopen(request, timeout=5):
            return True
    except OSError:
        return False


def bulk(server: Server) -> dict[str, dict[str, float]]:
    """Ten thousand tasks at once: one request to this project, and RQ's own enqueue_many in a process."""
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
    told = subprocess.run(
        [sys.executable, "-c", code], cwd=APPS, env=environment(server.url), check=True, capture_output=True
    ).stdout
    found = {"POST /tasks/bulk": {"rate": ours}, "RQ's enqueue_many": {"rate": float(told)}}
    for name, one in found.items():
        print(f"{name:<26} {one['rate']:>7,.0f} tasks/s", flush=True)
    return found


def pages(server: Server) -> dict[str, dict[str, float]]:
    """A page of GET /tasks, while more and more tasks are kept."""
    found = {}
    server.connection.flushall()
    port = free_port()
    with workers([project(port)], server):
        address = f"http://127.0.0.1:{port}"
        wait(lambda: answers(address + ADDRESS), 20)
        kept = 1
        for count in KEPT:
            while kept < count:
                some = min(BULK_TASKS, count - kept)
                body = json.dumps([{"task_type": "noop", "payload": {}}] * some).encode()
                with urlopen(
                    Request(f"{address}/tasks/bulk", body, {"Content-Type": "application/json"}), timeout=60
                ) as answer:
                    answer.read()
                kept += some
            found[str(count)] = {
                "newest": page_ms(f"{address}/tasks"),
                "queued": page_ms(f"{address}/tasks?status=queued"),
                "failed": page_ms(f"{address}/tasks?status=failed"),
            }
            print(f"{count:>9,} tasks: {found[str(count)]}", flush=True)
    return found


def page_ms(address: str) -> float:
    """The median time of one page, in milliseconds."""
    times = []
    for _ in range(PAGES):
        began = time.monotonic()
        with urlopen(address, timeout=LIMIT_SECONDS) as answer:
            answer.read()
        times.append((time.monotonic() - began) * 1000)
    return median(times)


def report(results: dict[str, Any]) -> str:
    """The page."""
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
            f"The medians of {ROUNDS} rounds, taken in turn.",
            "",
            table(
                ["", "requests/s", "× ours is faster", "p50, ms", "p99, ms"],
                [
                    [
                        name,
                        f"{one['rate']:,.0f}",
                        f"{ours / one['rate']:.2f}",
                        f"{one['p50']:.1f}",
                        f"{one['p99']:.1f}",
                    ]
                    for name, one in results["posts"].items()
                ],
            ),
            "",
            f"## {BULK_TASKS:,} tasks at once",
            "",
            table(["", "tasks/s"], [[name, f"{one['rate']:,.0f}"] for name, one in bulk_rates.items()]),
            "",
            "## One page of GET /tasks, in milliseconds",
            "",
            table(
                ["tasks kept", "newest", "status=queued", "status=failed (none)"],
                [
                    [f"{int(count):,}", f"{one['newest']:.1f}", f"{one['queued']:.1f}", f"{one['failed']:.1f}"]
                    for count, one in results["pages"].items()
                ],
            ),
            "",
        ]
    )


def main(parts: list[str]) -> None:
    """All parts, or those that are named."""
    if not shutil.which("wrk"):
        raise SystemExit("make bench-web: wrk is missing; apt install wrk, or brew install wrk")
    run(RESULTS, {"posts": posts, "bulk": bulk, "pages": pages}, parts, report)


if __name__ == "__main__":
    main(sys.argv[1:])
