"""Fixtures that call the command line, over Redis and over an API that needs a key."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from io import StringIO
from pathlib import Path

import pytest

from taskqueue.cli import main
from taskqueue.jobtypes.registry import JobTypes
from taskqueue.settings import Settings
from tests.taskqueue.cli.stage import KEY, SECRET, Done, Run
from tests.taskqueue.web.conftest import served
from tests.taskqueue.worker.stage import RunningWorker
from web import create_app


@pytest.fixture
def here(env: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], job_types: JobTypes) -> Run:
    """Return a function that runs the command line over Redis until it ends."""

    def command(*arguments: str, stdin: str = "") -> Done:
        env.setattr("sys.stdin", StringIO(stdin))
        code = main(arguments)
        return Done(code, *capsys.readouterr())

    return command


@pytest.fixture
def api(settings: Settings, job_types: JobTypes) -> Iterator[str]:
    """Return the URL of an API that needs a key."""
    with served(create_app(replace(settings, api_keys=(KEY,)), job_types)) as url:
        yield url


@pytest.fixture
def over_http(here: Run, api: str, env: pytest.MonkeyPatch) -> Run:
    """Return a function that runs the command line over that API, with the key."""
    env.setenv("TASK_QUEUE_API", api)
    env.setenv("TASK_QUEUE_KEY", SECRET)
    return here


@pytest.fixture(params=["here", "over_http"], ids=["redis", "http"])
def run(request: pytest.FixtureRequest) -> Run:
    """Return a function that runs the command line; a test runs once for each way."""
    way: Run = request.getfixturevalue(request.param)
    return way


@pytest.fixture
def worker(settings: Settings, project: Path, tmp_path: Path) -> Iterator[Callable[[], RunningWorker]]:
    """Return a function that starts a worker, which runs until the test has ended."""
    started: list[RunningWorker] = []

    def start() -> RunningWorker:
        started.append(RunningWorker(project, tmp_path / "worker.log", settings.redis_url))
        started[-1].wait_until_it_works()
        return started[-1]

    yield start
    for running in started:
        running.stop()
