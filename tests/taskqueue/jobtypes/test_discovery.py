"""JOBS says where the job types are."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from taskqueue.errors import InvalidSetting
from taskqueue.jobtypes.discovery import discover
from taskqueue.jobtypes.registry import JobTypes
from tests.conftest import ROOT

JOB = "from taskqueue import job\n\n@job('{0}')\ndef {1}() -> None: ...\n"
FILES = ("shop/__init__.py", "shop/tasks.py", "shop/_private.py", "shop/deep/__init__.py", "shop/deep/er.py")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """An application whose job types are not in `jobs`; each is named after its file."""
    for file in (*FILES, "single.py"):
        path = tmp_path / file
        path.parent.mkdir(parents=True, exist_ok=True)
        name = file.removesuffix(".py").replace("/", "-").replace("_", "").lower()
        path.write_text(JOB.format(name, name.replace("-", "_")))
    return tmp_path


@pytest.fixture
def registered(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[JobTypes]:
    """The registry, empty; the application can be imported, and is forgotten after the test."""
    empty = JobTypes()
    monkeypatch.setattr("taskqueue.jobtypes.registry.registered", empty)
    monkeypatch.setattr("taskqueue.jobtypes.discovery.registered", empty)
    monkeypatch.syspath_prepend(folder)
    yield empty
    for name in [name for name in sys.modules if name.partition(".")[0] in ("shop", "single")]:
        del sys.modules[name]


@pytest.mark.parametrize(
    ("places", "names"),
    [
        (["single"], {"single"}),
        (["shop.tasks"], {"shop-init", "shop-tasks"}),
        (["shop"], {"shop-init", "shop-tasks", "shop-deep-init"}),
        (["shop.**"], {"shop-init", "shop-tasks", "shop-deep-init", "shop-deep-er"}),
        (["single", "shop.tasks"], {"single", "shop-init", "shop-tasks"}),
    ],
)
def test_a_module_a_package_or_all_below_it_is_imported(
    registered: JobTypes, places: list[str], names: set[str]
) -> None:
    assert set(discover(*places)) == names


def test_a_place_that_does_not_exist_is_named_with_the_fix(registered: JobTypes) -> None:
    for place in ("nowhere", "shop.nowhere", "single.inner"):
        with pytest.raises(InvalidSetting, match=rf"JOBS: there is no module '{place}' in .* such as myapp.jobs"):
            discover(place)


def test_an_import_that_fails_inside_of_the_application_is_shown_as_it_is(
    registered: JobTypes, folder: Path
) -> None:
    (folder / "shop" / "tasks.py").write_text("import a_missing_library\n")
    with pytest.raises(ModuleNotFoundError, match="a_missing_library"):
        discover("shop")
    with pytest.raises(ModuleNotFoundError, match="a_missing_library"):
        discover("shop.tasks")


def worker(folder: Path, *options: str, **variables: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "taskqueue", "worker", "--burst", *options]
    env = os.environ | {"PYTHONPATH": str(ROOT)} | variables
    return subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, timeout=60, check=False)


@pytest.mark.usefixtures("env")
def test_a_worker_takes_the_variable_and_the_option(folder: Path) -> None:
    (folder / "broken").mkdir()  # a namespace package: no job types, and no error
    by_variable = worker(folder, LOG_LEVEL="DEBUG", JOBS="shop.**,single")
    by_option = worker(folder, "--jobs", "single", LOG_LEVEL="DEBUG", JOBS="shop")
    assert (by_variable.returncode, by_option.returncode) == (0, 0)
    assert "job types: shop-deep-er, shop-deep-init, shop-init, shop-tasks, single" in by_variable.stderr
    assert "job types: single\n" in by_option.stderr


@pytest.mark.usefixtures("env")
def test_a_worker_says_what_to_do_where_there_is_no_package_jobs(tmp_path: Path) -> None:
    done = worker(tmp_path, PYTHONPATH=str(link_to_the_library(tmp_path)))
    assert done.returncode == 2
    assert done.stderr == (
        f"taskqueue worker: JOBS: there is no module 'jobs' in {tmp_path} or among the installed packages;"
        " set JOBS (or --jobs) to the modules and packages with your job types, such as myapp.jobs\n"
    )


@pytest.mark.parametrize("value", ["shop,", "shop.*", ".jobs", "my-app.jobs", "shop/jobs"])
def test_a_place_that_is_no_module_is_refused_by_name(tmp_path: Path, value: str) -> None:
    done = worker(tmp_path, JOBS=value)
    assert done.returncode == 2
    assert "taskqueue worker: JOBS must be modules or packages with commas between them" in done.stderr
    assert f"got {value!r}" in done.stderr


def link_to_the_library(folder: Path) -> Path:
    """Return a folder from which the library can be imported, and nothing else of the project."""
    library = folder / "library"
    library.mkdir()
    (library / "taskqueue").symlink_to(ROOT / "taskqueue")
    return library
