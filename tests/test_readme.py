"""The README is true: its curl lines, its job type, its table of settings."""

import re
import shlex
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterator
from io import BytesIO
from itertools import chain
from pathlib import Path

import pytest
from PIL import Image
from redis import Redis

from taskqueue.enqueue.queue import TaskQueue
from tests.conftest import ROOT, free_port, wait_until

README = (ROOT / "README.md").read_text()
SOURCES = [path for folder in ("taskqueue", "jobs", "web", "deploy") for path in (ROOT / folder).rglob("*.py")]
SOURCES.append(ROOT / "worker.py")


def add_the_job_type(folder: Path) -> None:
    """Add the README's job type: one file in jobs/."""
    example = re.search(r"```python\n# (jobs/\w+\.py)\n(.*?)```", README, re.DOTALL)
    assert example
    (folder / example[1]).write_text(example[2])


@pytest.fixture
def project_of_the_readme(bare_project: Path) -> Path:
    add_the_job_type(bare_project)
    return bare_project


@pytest.fixture
def address(project_of_the_readme: Path, env: pytest.MonkeyPatch) -> Iterator[str]:
    """Run a web server of the project that the README describes; yield its address."""
    port = free_port()
    command = [sys.executable, "-m", "gunicorn", "-c", "web/gunicorn_conf.py", "web.wsgi:app"]
    process = subprocess.Popen(
        [*command, "--bind", f"127.0.0.1:{port}"], cwd=project_of_the_readme, stderr=subprocess.DEVNULL
    )
    url = f"http://127.0.0.1:{port}"
    ask = ["curl", "-sf", f"{url}/readyz"]
    wait_until(
        lambda: subprocess.run(ask, capture_output=True, check=False).returncode == 0, what="the web server"
    )
    yield url
    process.terminate()
    process.wait(30)


def run_the_curl_lines(address: str, folder: Path) -> dict[str, str]:
    """Run every curl line of the README against `address`; return the ids of the tasks by their types."""
    picture = BytesIO()
    Image.new("RGB", (400, 300), "red").save(picture, "JPEG")
    (folder / "photo.jpg").write_bytes(picture.getvalue())
    filename, task_id = "", ""
    task_ids: dict[str, str] = {}
    lines = re.findall(r"^curl .*$", README, re.MULTILINE)
    assert len(lines) >= 8
    for line in lines:
        command_line = line.replace("http://127.0.0.1:8000", address)
        command_line = re.sub(r"[0-9a-f]{32}-photo\.jpg", filename, command_line)
        command_line = re.sub(r"/tasks/[0-9a-f-]{36}", f"/tasks/{task_id}", command_line)
        command = [*shlex.split(command_line), "-s", "-i"]
        answer = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True).stdout
        status = int(answer.split()[1])
        queues = "-X POST" in line and "/tasks" in line
        makes = "/files" in line or "-X PUT" in line
        assert status == (202 if queues else 201 if makes else 200), f"{line}\n{answer}"
        filename = m[1] if (m := re.search(r"Location: /files/(\S+)", answer)) else filename
        if m := re.search(r"Location: /tasks/(\S+)", answer):
            task_id = task_ids[line.partition("task_type=")[2].partition("'")[0]] = m[1]
    return task_ids


def test_every_curl_line_is_answered_as_the_readme_says(
    address: str,
    project_of_the_readme: Path,
    tmp_path: Path,
    redis: Redis,
    queue: TaskQueue,
    work: Callable[..., str],
) -> None:
    task_ids = run_the_curl_lines(address, tmp_path)
    redis.lrem("rq:queue:low", 1, task_ids["sync"])  # its feed is on the internet
    work(cwd=project_of_the_readme)
    assert queue.get(task_ids["greet"]).result == ["Hello, Ada!", "Hello, Ada!"]
    assert queue.get(task_ids["resize"]).result["width"] == 200
    assert queue.get(task_ids["email"]).result["sent"] is False


def test_the_table_has_every_setting_and_no_other() -> None:
    table = README.partition("## Settings")[2].partition("\n## ")[0]
    documented = {
        name for row in re.findall(r"^\| (`.*?) \|", table, re.MULTILINE) for name in re.findall(r"`(\w+)`", row)
    }
    code = "".join(path.read_text() for path in SOURCES)
    functions = "text|url|redis_url|whole_number|names|one_of|credentials|release"
    readers = rf"(?:{functions})\(\s*(?:env|os\.environ), \"([A-Z_]+)\""
    assert documented == set(re.findall(readers, code))


def test_every_file_that_it_names_is_there() -> None:
    for link in re.findall(r"\]\((?!http)([^)#]+)\)", README):
        assert (ROOT / link).exists(), link


def test_every_make_target_that_it_names_is_there() -> None:
    makefile = (ROOT / "Makefile").read_text()
    for target in set(re.findall(r"^make (\w+)", README, re.MULTILINE)):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target


def test_the_environment_of_the_tests_is_the_lock() -> None:
    """Every dependency of pyproject.toml is pinned with hashes, and the parts agree."""
    pins: dict[str, set[str]] = {}
    for name in ("dev", "web", "worker"):
        text = (ROOT / "requirements" / f"{name}.txt").read_text()
        for package, version in re.findall(r"^([\w.-]+)==(\S+)", text, re.MULTILINE):
            pins.setdefault(package, set()).add(version)
            assert re.search(rf"^{re.escape(package)}==.*\\\n    --hash=sha256:", text, re.MULTILINE), package
    assert [
        (package, versions) for package, versions in pins.items() if len(versions) > 1 and package != "networkx"
    ] == []
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    needs = [*project["dependencies"], *chain(*project["optional-dependencies"].values())]
    wanted = {re.split(r"[^\w.-]", need)[0] for need in needs}
    assert len(wanted) > 30
    assert wanted - pins.keys() == set()
