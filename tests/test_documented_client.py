"""The Python of docs/client.md does what the page says, against a real web server and a real worker."""

import os
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from taskqueue.jobtypes.discovery import discover
from taskqueue.jobtypes.registry import JobTypes
from taskqueue.settings import Settings
from tests.conftest import ROOT
from tests.taskqueue.cli.stage import KEY, SECRET
from tests.taskqueue.web.conftest import served
from tests.taskqueue.worker.stage import RunningWorker
from web import create_app

GREET = re.findall(r"^```python\n(# jobs/greet.py\n.*?)^```", (ROOT / "README.md").read_text(), re.S | re.M)[0]
PRINTED = re.compile(r"^\s*print\((?P<code>.*)\)  # (?P<value>.+)$")


def test_the_programs_of_the_page_print_what_it_says(
    settings: Settings, bare_project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = "\n".join(re.findall(r"^```python\n(.*?)^```", (ROOT / "docs/client.md").read_text(), re.S | re.M))
    promised = [match["value"] for line in program.splitlines() if (match := PRINTED.match(line))]
    assert len(promised) == 13
    package = bare_project / "greeting_jobs"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "greet.py").write_text(GREET)
    for file in (bare_project / "jobs").glob("[a-z]*.py"):
        file.unlink()
    (bare_project / "jobs" / "greet.py").write_text(GREET)
    (bare_project / "program.py").write_text(program)
    monkeypatch.syspath_prepend(bare_project)
    types = JobTypes()
    monkeypatch.setattr("taskqueue.jobtypes.registry.registered", types)
    monkeypatch.setattr("taskqueue.jobtypes.discovery.registered", types)
    discover("greeting_jobs")
    worker = RunningWorker(bare_project, tmp_path / "worker.log", settings.redis_url)
    try:
        worker.wait_until_it_works()
        with served(create_app(replace(settings, api_keys=(KEY,)), types)) as url:
            done = subprocess.run(
                [sys.executable, "program.py"],
                cwd=bare_project,
                env=os.environ | {"JOBS_URL": url, "JOBS_KEY": SECRET},
                capture_output=True,
                text=True,
                check=False,
                timeout=120,
            )
    finally:
        worker.stop()
    assert done.returncode == 0, done.stderr
    printed = done.stdout.splitlines()
    missing = [value for value in promised if value not in printed]
    assert missing == [], done.stdout


def test_the_program_of_the_readme_is_on_the_page() -> None:
    (program,) = re.findall(r"^```py\n(.*?)^```", (ROOT / "README.md").read_text(), re.S | re.M)
    assert program in (ROOT / "docs/client.md").read_text()
