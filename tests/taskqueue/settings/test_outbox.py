"""OUTBOX_DATABASE_URL and OUTBOX_TABLE: what they take, and the name that workers share."""

from pathlib import Path

import pytest

from taskqueue.errors import InvalidSetting
from taskqueue.settings import Settings
from taskqueue.settings.outbox import DRIVERS, outbox_name


@pytest.mark.parametrize(
    "url", ["shop.db", "oracle://db/shop", "http://db/shop", "postgresql://u:p/w@db:port/shop"]
)
def test_what_is_no_url_of_such_a_database_is_refused_without_its_password(url: str) -> None:
    with pytest.raises(InvalidSetting, match="OUTBOX_DATABASE_URL") as raised:
        Settings.read({"OUTBOX_DATABASE_URL": url})
    assert "p/w" not in str(raised.value)


@pytest.mark.parametrize("backend", DRIVERS)
def test_each_database_is_taken_with_any_driver(backend: str) -> None:
    assert Settings.read({"OUTBOX_DATABASE_URL": f"{backend}+async://shop:secret@db/shop"}).outbox


@pytest.mark.parametrize("table", ["", "a b", 'x"; DROP TABLE y', "a.b.c", "1st", "x" * 56])
def test_a_table_has_a_plain_name(table: str) -> None:
    if not table:
        assert Settings.read({"OUTBOX_TABLE": table}).outbox_table == "taskqueue_outbox"
        return
    with pytest.raises(InvalidSetting, match="OUTBOX_TABLE"):
        Settings.read({"OUTBOX_TABLE": table})


def test_the_name_has_no_password_and_does_not_depend_on_the_driver() -> None:
    names = {
        outbox_name(f"postgresql{driver}://shop:secret@db.internal:5433/shop?sslmode=require", "app.outbox")
        for driver in ("", "+psycopg", "+asyncpg")
    }
    assert names == {"db.internal:5433/shop.app.outbox"}


def test_the_name_of_a_file_is_its_whole_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    relative, absolute = outbox_name("sqlite:///shop.db", "t"), outbox_name(f"sqlite:///{tmp_path}/shop.db", "t")
    assert relative == absolute == f"{tmp_path}/shop.db:t"
