"""Clients of a real web server that needs a key, and a proxy that fails them."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from taskqueue.client import Client
from tests.taskqueue.cli.conftest import api, worker
from tests.taskqueue.cli.stage import SECRET
from tests.taskqueue.client.stage import FailingProxy

__all__ = ["api", "worker"]


@pytest.fixture
def client(api: str) -> Iterator[Client]:
    with Client(api, key=SECRET, retry_seconds=10) as client:
        yield client


@pytest.fixture
def proxy(api: str) -> Iterator[FailingProxy]:
    with FailingProxy(api) as proxy:
        yield proxy


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    file = tmp_path / "Отчёт.txt"
    file.write_text("hello")
    return file
