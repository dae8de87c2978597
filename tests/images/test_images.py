"""Both images as containers on a network of their own, and the faults that happen there."""

import json
import threading
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.deploy.conftest import JOB_TYPE
from tests.deploy.test_sync import WRAPPER
from tests.images.docker import Api, copy_into, docker, log_of, wait_until
from tests.test_readme import run_the_curl_lines

REDIS = ("redis:8-alpine", "redis-server", "--appendonly", "yes", "--maxmemory-policy", "noeviction")
READ_ONLY = ("--read-only", "--tmpfs", "/tmp", "--volume", "/app")


class Cluster:
    """Containers on one network that reach each other by name."""

    def __init__(self) -> None:
        self._prefix = f"tq-{uuid.uuid4().hex[:8]}"
        self._started: list[str] = []
        docker("network", "create", self._prefix)

    def start(self, name: str, image: str, *command: str, options: tuple[str, ...] = ()) -> str:
        """Start a container that the others reach as `name`; return its id."""
        environment = ("--env", "TASK_QUEUE_URL=redis://redis:6379/0", "--env", "WORKER_PORT=8001")
        network = ("--network", self._prefix, "--network-alias", name)
        container = docker("run", "-d", *network, *environment, *options, image, *command)
        self._started.append(container)
        return container

    def start_web(self, image: str) -> tuple[str, Api]:
        container = self.start("web", image, options=("--publish", "127.0.0.1::8000", *READ_ONLY))
        return container, Api(docker("port", container, "8000"))

    def remove(self) -> None:
        for container in self._started:
            docker("rm", "--force", "--volumes", container)
        docker("network", "rm", self._prefix)


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    made = Cluster()
    yield made
    made.remove()


def test_an_image_has_what_its_process_needs_and_no_more(images: None) -> None:
    look = "id -u; ls -A /app; for name in tar sh kill gcc make git; do command -v $name; done; touch /app/jobs/x"
    for image, programs in (
        ("task-api", ["jobs", "taskqueue", "var", "web"]),
        ("task-worker", ["jobs", "taskqueue", "var", "worker.py"]),
    ):
        lines = docker("run", "--rm", image, "sh", "-c", look).splitlines()
        assert lines[0] == "10001"
        assert lines[1:5] == programs
        assert [Path(line).name for line in lines[5:]] == ["tar", "sh", "kill"]
        assert docker("run", "--rm", image, "sh", "-c", "find / -xdev -name kill -path '*bin/*' | head -n 1")


def test_the_first_process_is_the_program_itself(images: None) -> None:
    assert json.loads(docker("inspect", "-f", "{{json .Config.Cmd}}", "task-api"))[0] == "gunicorn"
    assert json.loads(docker("inspect", "-f", "{{json .Config.Cmd}}", "task-worker")) == ["python", "worker.py"]
    for image in ("task-api", "task-worker"):
        assert docker("inspect", "-f", "{{json .Config.Entrypoint}}", image) == "null"


def test_it_starts_without_a_secret_and_before_redis_then_does_what_the_readme_says(
    cluster: Cluster, others: None, test_images: dict[str, str], tmp_path: Path
) -> None:
    _, api = cluster.start_web(test_images["web"])
    worker = cluster.start("worker", test_images["worker"], options=READ_ONLY)
    wait_until(lambda: api.ask("GET", "/healthz")[0] == 200, what="the web server")
    assert api.ask("GET", "/readyz")[0] == 503
    wait_until(lambda: "Redis does not answer yet" in log_of(worker), what="the worker to say that it waits")
    cluster.start("redis", *REDIS)
    wait_until(api.is_ready, what="Redis")

    task_ids = run_the_curl_lines(api.address, tmp_path)
    assert "high" in api.page("/rq/0/data/queues.json")
    greeted, resized, emailed = api.wait_for(*(task_ids[name] for name in ("greet", "resize", "email")))
    assert greeted["result"] == ["Hello, Ada!", "Hello, Ada!"]
    assert resized["result"]["width"] == 200
    assert emailed["result"]["sent"] is False
    look = (
        "from http.client import HTTPConnection; worker = HTTPConnection('127.0.0.1', 8001); "
        "worker.request('GET', '/readyz'); print(worker.getresponse().status)"
    )
    wait_until(lambda: docker("exec", worker, "python", "-c", look) == "200", what="the worker to be ready")
    # The kernel gives orphans to the container's first process, the worker.
    api.wait_for(api.submit("orphan"))
    wait_until(lambda: "sleep" not in docker("exec", worker, "ps", "-eo", "comm"), what="the burial of the orphan")


@pytest.fixture
def running(cluster: Cluster, others: None, test_images: dict[str, str]) -> tuple[Cluster, Api, list[str], str]:
    """Redis, the web server and two workers: the cluster, the API, the workers' containers, Redis's."""
    redis = cluster.start("redis", *REDIS)
    _, api = cluster.start_web(test_images["web"])
    workers = [cluster.start(f"worker-{number}", test_images["worker"]) for number in (1, 2)]
    wait_until(api.is_ready, what="the web server")
    return cluster, api, workers, redis


def test_a_killed_worker_and_a_killed_redis_lose_nothing(running: tuple[Cluster, Api, list[str], str]) -> None:
    _, api, workers, redis = running
    task_id = api.submit("long", seconds=3)
    [task] = api.wait_for(task_id, status="processing")
    # A worker's name begins with its host name, which is the container's id.
    docker("kill", *(worker for worker in workers if task["worker"].startswith(worker[:12])))
    waiting = [api.submit("long", seconds=0.1) for _ in range(40)]
    docker("kill", redis)
    docker("start", redis)
    for done in api.wait_for(task_id, *waiting):
        assert done["attempt"] == (2 if done["id"] == task_id else 1)


def test_a_roll_to_a_new_image_under_load_loses_nothing(
    running: tuple[Cluster, Api, list[str], str], test_images: dict[str, str]
) -> None:
    cluster, api, workers, _ = running
    accepted: list[str] = []
    over = threading.Event()

    def submit() -> None:
        while not over.wait(0.02):
            accepted.append(api.submit("long", seconds=0.2))

    load = threading.Thread(target=submit)
    load.start()
    try:
        for number, worker in enumerate(workers):
            cluster.start(f"new-{number}", test_images["new worker"])
            docker("stop", "-t", "30", worker)
            assert docker("inspect", "-f", "{{.State.ExitCode}}", worker) == "0"
        newest = len(accepted)
        wait_until(lambda: len(accepted) > newest + 10, what="tasks for the new workers alone")
    finally:
        over.set()
        load.join()
    done = api.wait_for(*accepted, seconds=120)
    assert {task["attempt"] for task in done} == {1}
    assert {task["result"] for task in done} == {"old", "new"}
    assert done[-1]["result"] == "new"


def test_kindling_sync_brings_new_code_into_both_containers(
    cluster: Cluster, others: None, test_images: dict[str, str]
) -> None:
    cluster.start("redis", *REDIS)
    web, api = cluster.start_web(test_images["web"])
    worker = cluster.start("worker", test_images["worker"], "sh", "-c", WRAPPER.format(command="python worker.py"))
    wait_until(api.is_ready, what="the web server")
    wait_until(lambda: api.wait_for(api.submit("generic")), what="the worker")

    for container in (web, worker):
        copy_into(container, "jobs/fresh.py", JOB_TYPE)
    docker("exec", web, "kill", "-HUP", "1")
    docker("exec", worker, "sh", "-c", "kill $(cat app-pid)")
    # Until the new processes have started, the old ones answer, too.
    wait_until(
        lambda: all("fresh" in api.page("/task-types") for _ in range(30)), what="the new code in the web server"
    )
    api.wait_for(api.submit("fresh"))

    copy_into(web, "jobs/fresh.py", "def broken(:")
    docker("exec", web, "kill", "-HUP", "1")
    wait_until(lambda: "The new code does not start; the old code goes on." in log_of(web), what="the refusal")
    assert "fresh" in api.page("/task-types")
