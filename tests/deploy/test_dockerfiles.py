"""The Dockerfiles, checked as text; tests/images builds and runs them."""

import json
import re
import subprocess
import sys
from fnmatch import fnmatch

import pytest

from tests.conftest import ROOT

SHELL_CHARACTERS = re.compile(r"[\s$`'\"\\;&|<>()*?]")


@pytest.fixture(params=["web", "worker"])
def part(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def dockerfile(part: str) -> str:
    return (ROOT / f"Dockerfile.{part}").read_text()


def test_it_needs_no_buildkit(dockerfile: str) -> None:
    """kindling builds with Kaniko."""
    for word in ("--mount", "--link", "# syntax", "<<", "TARGETARCH", "BUILDPLATFORM", "--platform"):
        assert word not in dockerfile


def test_its_command_is_plain_words(dockerfile: str) -> None:
    """kindling joins them into one line for a shell."""
    [command] = re.findall(r"^CMD (.*)$", dockerfile, re.MULTILINE)
    for word in json.loads(command):
        assert not SHELL_CHARACTERS.search(word)
    assert "ENTRYPOINT" not in dockerfile


def test_it_ends_as_a_user_without_rights(dockerfile: str) -> None:
    assert re.findall(r"^USER (\d+)$", dockerfile, re.MULTILINE) == ["10001"]


def test_code_comes_after_the_dependencies_which_come_from_the_lock(part: str, dockerfile: str) -> None:
    install, code = dockerfile.index("pip install"), dockerfile.index("taskqueue taskqueue")
    assert dockerfile.index(f"requirements/{part}.txt") < install < code
    assert "--require-hashes --no-deps" in dockerfile
    lock = (ROOT / "requirements" / f"{part}.txt").read_text()
    names = set(re.findall(r"^([a-z0-9-]+)==", lock, re.MULTILINE))
    assert {"rq", "pillow"} <= names
    web_only = {"flask", "gunicorn", "rq-dashboard"}
    assert names & web_only == (web_only if part == "web" else set())
    assert not {"pytest", "ruff", "mypy"} & names


def test_the_worker_starts_without_the_web_servers_packages() -> None:
    """taskqueue/web is in the worker's image, and nothing there imports it."""
    find = "from taskqueue.jobtypes.discovery import discover; discover()"
    code = f"import sys, worker; {find}; print(*sorted(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert {"taskqueue.worker", "jobs.email"} <= set(done.stdout.split())
    assert not {"taskqueue.web", "flask", "werkzeug", "gunicorn", "rq_dashboard"} & set(done.stdout.split())


def test_what_it_copies_is_there_and_is_sent_to_the_builder(dockerfile: str) -> None:
    ignored = (ROOT / ".dockerignore").read_text().splitlines()
    sent = [line.removeprefix("!") for line in ignored if line.startswith("!")]
    for source in re.findall(r"^COPY (?:--\S+ )?(\S+) ", dockerfile, re.MULTILINE):
        assert (ROOT / source).exists()
        assert any(fnmatch(source, pattern) for pattern in sent), source
