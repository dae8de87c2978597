"""`from taskqueue import …`: each public name is there, has a docstring for editors, and costs nothing unused."""

import inspect
import subprocess
import sys

import taskqueue
from tests.conftest import ROOT


def test_each_public_name_is_there_with_a_docstring() -> None:
    for name in taskqueue.__all__:
        assert inspect.getdoc(getattr(taskqueue, name)), name
    assert set(taskqueue.__all__) <= set(dir(taskqueue))
    assert taskqueue.errors.TaskFailed


def test_each_public_name_is_documented() -> None:
    pages = "".join((ROOT / page).read_text() for page in ("README.md", "docs/python.md", "docs/rq.md"))
    assert [name for name in taskqueue.__all__ if name not in pages] == []


def test_the_package_alone_imports_nothing_heavy() -> None:
    program = "import sys, taskqueue; print({'redis', 'rq', 'pydantic', 'asyncio'} & sys.modules.keys())"
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
