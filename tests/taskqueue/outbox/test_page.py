"""The code of docs/outbox.md does what the page says: on a real worker, and in Alembic."""

import re
from pathlib import Path

import pytest

from tests.conftest import ROOT, RedisServer
from tests.taskqueue.outbox.test_schema import REVISION
from tests.taskqueue.worker.stage import RunningWorker
from tests.test_documented_python import checked, run, with_jobs

CODE = re.findall(r"^```python\n(.*?)^```", (ROOT / "docs" / "outbox.md").read_text(), re.DOTALL | re.MULTILINE)
FILES = {name[1]: code for code in CODE if (name := re.match(r"# (\S+\.py)\n", code))}


@pytest.mark.usefixtures("env")
def test_the_shop_of_the_page(bare_project: Path, tmp_path: Path, shared_redis: RedisServer) -> None:
    project = with_jobs(bare_project, {name: code for name, code in FILES.items() if "migrations" not in name})
    (program,) = (code for code in CODE if code not in FILES.values())
    code, promises = checked(program)
    assert promises == 1
    variables = {"OUTBOX_DATABASE_URL": "sqlite:///shop.db"}
    worker = RunningWorker(project, tmp_path / "worker.log", shared_redis.url, **variables)
    try:
        run(project, code)
    finally:
        worker.stop()


def test_the_migration_of_the_page_is_the_one_that_the_tests_run() -> None:
    def code(text: str) -> list[str]:
        lines = [line.replace(" -> None", "").replace('"0001"', '"1"').strip() for line in text.splitlines()]
        return [line for line in lines if line and not line.startswith("#")]

    assert code(FILES["migrations/versions/0001_outbox.py"]) == code(REVISION)
