"""The library as a package: built, installed into empty environments, and used there without the repository."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from zipfile import ZipFile

import pytest

from tests.conftest import ROOT, RedisServer

pytestmark = pytest.mark.slow  # half a minute of pip

JOB = '''
from taskqueue import job


@job("greet")
def greet(name: str) -> str:
    """Greet somebody."""
    return f"Hello, {name}!"
'''
PARTS = ("pyproject.toml", "README.md", "CHANGELOG.md", "taskqueue", "docs")
# Tests that need no more than pytest and a Redis; of the application they need its job type `generic`.
SELECTION = (
    "enqueue/test_queue.py",
    "enqueue/test_schedule.py",
    "store/test_transaction.py",
    "web/http/test_path_prefix.py",
)


def run(*command: str | Path, cwd: Path, **variables: str) -> str:
    """Run a program that must succeed, without anything of the repository in its environment."""
    env = {
        name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "TASK_QUEUE_URL", "JOBS")
    }
    done = subprocess.run(
        command,
        cwd=cwd,
        env=env | variables,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    return done.stdout


@pytest.fixture(scope="session")
def source(lasting_folder: Path) -> Path:
    """A copy of what the package is built from: a build leaves files behind."""
    folder = lasting_folder / "source"
    folder.mkdir()
    for part in PARTS:
        copy = shutil.copytree if (ROOT / part).is_dir() else shutil.copy
        copy(ROOT / part, folder / part)
    return folder


Environment = Callable[..., Path]


@pytest.fixture
def environment(tmp_path: Path) -> Environment:
    """Return a function that makes an environment with these packages only; it returns its folder of programs."""

    def make(*requirements: str) -> Path:
        folder = tmp_path / f"environment-{len(list(tmp_path.iterdir()))}"
        run(sys.executable, "-m", "venv", folder, cwd=tmp_path)
        run(folder / "bin" / "python", "-m", "pip", "install", "-q", *requirements, cwd=tmp_path)
        return folder / "bin"

    return make


def wheel_of(source: Path, folder: Path) -> Path:
    run(sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "-w", folder, source, cwd=folder)
    [wheel] = folder.glob("taskqueue_rq-*.whl")
    return wheel


def test_the_wheel_has_the_library_whole_and_nothing_else(source: Path, tmp_path: Path) -> None:
    names = {name for name in ZipFile(wheel_of(source, tmp_path)).namelist() if ".dist-info/" not in name}
    tracked = subprocess.run(
        ["git", "ls-files", "taskqueue"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout
    assert names == set(tracked.splitlines())
    assert "taskqueue/py.typed" in names


def test_the_library_alone_runs_a_worker(
    source: Path, tmp_path: Path, environment: Environment, own_redis: RedisServer
) -> None:
    programs = environment(str(wheel_of(source, tmp_path)))
    shop = tmp_path / "shop"
    shop.mkdir()
    (shop / "greetings.py").write_text(JOB)
    variables = {"JOBS": "shop.greetings", "TASK_QUEUE_URL": own_redis.url}
    submitted = run(programs / "taskqueue", "submit", "greet", '{"name": "Ada"}', cwd=tmp_path, **variables)
    log = run(programs / "taskqueue", "worker", "--burst", cwd=tmp_path, **variables)
    assert "complete in" in log
    assert "Hello, Ada!" in run(programs / "taskqueue", "get", submitted.split()[0], cwd=tmp_path, **variables)
    without_web = subprocess.run(
        [programs / "taskqueue", "web"],
        cwd=tmp_path,
        env=os.environ | variables,
        capture_output=True,
        text=True,
        check=False,
    )
    assert without_web.returncode == 2
    assert without_web.stderr == "taskqueue web: flask is not installed: pip install 'taskqueue-rq[web]'\n"


def test_the_tests_pass_on_the_installed_package(source: Path, tmp_path: Path, environment: Environment) -> None:
    """The package is built from its source distribution, and the application of the repository runs on it."""
    builder = environment("hatchling~=1.27")
    run(builder / "python", "-m", "hatchling", "build", "-t", "sdist", cwd=source)
    [archive] = (source / "dist").glob("taskqueue_rq-*.tar.gz")
    programs = environment(f"taskqueue-rq[all] @ file://{archive}", "pytest", "selenium", "pillow", "pytest-xdist")
    application = tmp_path / "application"
    shutil.copytree(ROOT / "tests", application / "tests", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(ROOT / "web", application / "web", ignore=shutil.ignore_patterns("__pycache__"))
    (application / "jobs").mkdir()
    for name in ("__init__.py", "generic.py"):
        shutil.copy(ROOT / "jobs" / name, application / "jobs")
    where = run(programs / "python", "-c", "import taskqueue; print(taskqueue.__file__)", cwd=application)
    assert "site-packages" in where
    selection = [f"tests/taskqueue/{name}" for name in SELECTION]
    options = ("-q", "--import-mode=importlib", "-o", "pythonpath=.", "--override-ini", "markers=slow: slow")
    report = run(programs / "python", "-m", "pytest", *options, *selection, cwd=application)
    assert " passed" in report
