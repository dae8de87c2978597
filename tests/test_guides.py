"""docs/flask.md, docs/fastapi.md and docs/django.md, the ways into an existing application, are run."""

import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.conftest import ROOT, RedisServer, free_port, wait_until

SERVERS = ("taskqueue run", "taskqueue worker", "uvicorn", "python manage.py runserver")


class Guide:
    """One of the pages: its files, its commands, its requests."""

    def __init__(self, name: str, folder: Path) -> None:
        page = (ROOT / "docs" / f"{name}.md").read_text()
        self.folder = folder
        self.port = free_port()
        self.log_file = folder / "log"
        self.files = dict(re.findall(r"```python\n# (\S+\.py)\n(.*?)```", page, re.DOTALL))
        before_production = page.partition("## In production")[0]
        lines = re.findall(r"^```sh\n(.*?)```", before_production, re.DOTALL | re.MULTILINE)
        commands = [line for block in lines for line in block.splitlines() if not line.startswith("pip ")]
        self.variables = dict(
            word.split("=", 1) for line in commands if line.startswith("export") for word in line.split()[1:]
        )
        self.commands = [line for line in commands if not line.startswith(("export", "curl"))]
        self.requests = [line for line in commands if line.startswith("curl")]
        self._processes: list[subprocess.Popen[str]] = []

    def write_files(self) -> None:
        for name, content in self.files.items():
            path = self.folder / name
            path.parent.mkdir(exist_ok=True)
            path.with_name("__init__.py").touch()
            path.write_text(content)

    def start(self, redis_url: str) -> None:
        """Run the page's commands, those that go on in the background."""
        python_path = f"{self.folder}{os.pathsep}{ROOT}"
        env = os.environ | self.variables | {"TASK_QUEUE_URL": redis_url, "PYTHONPATH": python_path}
        env |= {"PORT": str(self.port), "WEB_PROCESSES": "1", "TRUST_FORWARDED_PREFIX": "yes"}
        for line in self.commands:
            program, *arguments = shlex.split(line.replace("8000", str(self.port)))
            command = [sys.executable, *(() if program == "python" else ("-m", program)), *arguments]
            with self.log_file.open("a") as log:
                process = subprocess.Popen(command, cwd=self.folder, env=env, stdout=log, stderr=log, text=True)
            if line.startswith(SERVERS):
                self._processes.append(process)
            else:
                assert process.wait(60) == 0, self.log_file.read_text()

    def curl(self, line: str, *options: str) -> str:
        words = shlex.split(line.replace(":8000", f":{self.port}"))
        return subprocess.run([*words, "-s", *options], capture_output=True, text=True, check=False).stdout

    def stop(self) -> None:
        for process in self._processes:
            process.terminate()
        for process in self._processes:
            process.wait(40)


@pytest.fixture
def guide(tmp_path: Path, own_redis: RedisServer) -> Iterator[Callable[[str], Guide]]:
    """Build the application of a page in a folder of its own, and run it; it has the name of the page."""
    started: list[Guide] = []

    def start(name: str) -> Guide:
        folder = tmp_path / name
        folder.mkdir()
        if name == "django":
            startproject = [sys.executable, "-m", "django", "startproject", "site_of_the_shop", "."]
            subprocess.run(startproject, cwd=folder, check=True)
        started.append(Guide(name, folder))
        started[-1].write_files()
        started[-1].start(own_redis.url)
        return started[-1]

    yield start
    for each in started:
        each.stop()


@pytest.mark.parametrize("name", ["flask", "fastapi", "django"])
def test_the_application_of_the_page_submits_a_task_and_shows_its_result(
    guide: Callable[[str], Guide], name: str
) -> None:
    shop = guide(name)
    root = "curl http://127.0.0.1:8000/jobs"
    wait_until(lambda: '"ok"' in shop.curl(f"{root}/readyz"), what=f"the web server: {shop.log_file.read_text()}")
    submit, show = shop.requests
    answer = shop.curl(submit)
    task = re.search(r"[0-9a-f]{8}-[0-9a-f-]{27}", answer)
    if task:
        show = re.sub(r"[0-9a-f]{8}-[0-9a-f-]{27}", task[0], show)
    wait_until(lambda: '"welcomed ada' in shop.curl(show) or '"complete"' in shop.curl(show), what="the task")
    found = json.loads(shop.curl(show))
    task_id = task[0] if task else found["tasks"][0]["id"]
    assert json.loads(shop.curl(f"{root}/tasks/{task_id}"))["result"].startswith("welcomed ada")
    check_addresses(shop, root, task_id)


def check_addresses(shop: Guide, root: str, task_id: str) -> None:
    """Every address that the mounted API hands out begins with its path, and leads back to it."""
    for prefix, options in (("/jobs", ()), ("/front/jobs", ("-H", "X-Forwarded-Prefix: /front"))):
        posted = shop.curl(f"{root}/tasks?task_type=welcome", "-i", "--json", '{"to": "b"}', *options)
        if shop.folder.name == "django":
            assert "422" in posted.splitlines()[0]  # it takes a user's id
            posted = shop.curl(f"{root}/tasks?task_type=welcome", "-i", "--json", '{"user_id": 1}', *options)
        assert re.search(rf"^location: {prefix}/tasks/", posted, re.MULTILINE | re.IGNORECASE), posted
        page = json.loads(shop.curl(f"{root}/tasks?limit=1", *options))
        assert page["next"].startswith(f"{prefix}/tasks?")
        document = json.loads(shop.curl(f"{root}/openapi.json", *options))
        assert document["servers"] == [{"url": prefix}]
        assert json.loads(shop.curl(f"{root}/", *options))["dashboard"] == f"{prefix}/rq"
        links = re.findall(r'(?:src|href)="(/[^"]*)"', shop.curl(f"{root}/rq/", *options))
        assert links
        assert all(link.startswith(f"{prefix}/rq/") for link in links)
        script = next(link for link in links if link.endswith(".js"))
        path = script.removeprefix(prefix)
        assert "jQuery" in shop.curl(f"{root}{path}") or len(shop.curl(f"{root}{path}")) > 1000
    events = shop.curl(f"{root}/tasks/{task_id}/events", "--max-time", "20")
    assert "event: status" in events
    assert "complete" in events
