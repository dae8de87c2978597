"""Stored files: in a real Redis, a folder, and a real S3 server."""

from collections.abc import Iterator
from pathlib import Path

import boto3
import obstore
import pytest
from moto.server import ThreadedMotoServer
from redis import Redis

from taskqueue.errors import FilesUnavailable, FileTooLarge, UnknownFile
from taskqueue.run.files import FileStore, ObjectFiles, RedisFiles, check_files, open_files
from taskqueue.settings import Settings
from tests.conftest import free_port


@pytest.fixture
def s3(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A real S3 server with a bucket; the address of a folder in it."""
    server = ThreadedMotoServer("127.0.0.1", free_port(), verbose=False)
    server.start()
    endpoint = f"http://127.0.0.1:{server._port}"
    for name, value in {
        "AWS_ENDPOINT_URL": endpoint,
        "AWS_ALLOW_HTTP": "true",
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_REGION": "us-east-1",
    }.items():
        monkeypatch.setenv(name, value)
    boto3.client("s3", endpoint_url=endpoint, region_name="us-east-1").create_bucket(Bucket="files")
    yield "s3://files/uploads"
    server.stop()


@pytest.fixture(params=["redis", "folder", "s3"])
def files_url(request: pytest.FixtureRequest, tmp_path: Path) -> str | None:
    match request.param:
        case "redis":
            return None
        case "folder":
            return f"file://{tmp_path}/files"
    return str(request.getfixturevalue("s3"))


@pytest.fixture
def store(redis: Redis, files_url: str | None) -> FileStore:
    return open_files(Settings(files_url=files_url, max_file_bytes=1000), redis)


def test_what_is_written_can_be_read(store: FileStore) -> None:
    stored = store.write(b"hello", "greeting.txt")
    read, content = store.read(stored.filename)
    assert content == b"hello"
    assert (read.filename, read.size, read.content_type) == (stored.filename, 5, "text/plain")
    assert abs((read.expires_at - stored.expires_at).total_seconds()) < 5


def test_a_filename_keeps_its_wish_and_cannot_be_guessed(store: FileStore) -> None:
    names = {store.write(b"x", "a b/c ü.PNG").filename for _ in range(20)}
    assert len(names) == 20
    assert all(name.endswith("-c-.PNG") and len(name.partition("-")[0]) == 32 for name in names)


def test_with_a_key_a_second_write_overwrites(store: FileStore) -> None:
    first = store.write(b"one", "a.txt", key="5c1f7c1e-0001")
    second = store.write(b"two", "a.txt", key="5c1f7c1e-0001")
    assert first.filename == second.filename
    assert first.filename.endswith("-a.txt")
    assert store.read(first.filename)[1] == b"two"


def test_a_filename_says_nothing_of_its_key(store: FileStore) -> None:
    """Somebody who knows a task's id must not be able to read the file that the task has stored by that key."""
    stored = store.write(b"one", "a.txt", key="5c1f7c1e-0001")
    assert "5c1f" not in stored.filename
    assert len(stored.filename.partition("-")[0]) == 32
    for guess in ("5c1f7c1e0001-a.txt", "5c1f7c1e-0001-a.txt"):
        with pytest.raises(UnknownFile):
            store.read(guess)


def test_each_job_type_has_keys_of_its_own(redis: Redis, files_url: str | None) -> None:
    settings = Settings(files_url=files_url)
    report, export = (open_files(settings, redis, task_type) for task_type in ("report", "export"))
    first, second = report.write(b"1", "a.txt", key="daily"), export.write(b"2", "a.txt", key="daily")
    assert first.filename != second.filename
    assert (report.read(first.filename)[1], report.read(second.filename)[1]) == (b"1", b"2")


def test_a_file_belongs_to_the_type_of_the_job_that_writes_it(redis: Redis, files_url: str | None) -> None:
    settings = Settings(files_url=files_url)
    for store, named, types in (
        (open_files(settings, redis), None, None),
        (open_files(settings, redis, "report"), None, ("report",)),
        (open_files(settings, redis), ("a", "b"), ("a", "b")),
    ):
        stored = store.write(b"1", task_types=named)
        assert stored.task_types == types
        assert store.read(stored.filename)[0].task_types == types


NAMES = [
    "Отчёт.pdf",
    "請求書.pdf",
    "Müller Rechnung.pdf",
    "Mu\u0308ller.pdf",  # in two characters, as macOS writes it
    "Q1 (final).pdf",
    "تقرير.pdf",
    "100%25.pdf",
    "a'b\"c;d=e&f.pdf",
    " spaces .pdf",
    ".pdf",
    "👩‍👩‍👧.png",
    "no ending",
]


@pytest.mark.parametrize("name", NAMES)
def test_the_name_of_a_file_is_kept_exactly(store: FileStore, name: str) -> None:
    stored = store.write(b"x", name)
    assert (stored.name, store.read(stored.filename)[0].name) == (name, name)


def test_a_name_lives_as_long_as_its_file(redis: Redis) -> None:
    stored = open_files(Settings(file_ttl_seconds=100), redis).write(b"x", "a.txt", key="1")
    keys = list(redis.scan_iter("tq:file:*"))
    assert len(keys) == 3  # the file, its name, and the secret of its key
    assert all(95 <= redis.ttl(key) <= 100 for key in keys)
    redis.delete(f"tq:file:{stored.filename}")
    with pytest.raises(UnknownFile):
        open_files(Settings(), redis).read(stored.filename)


def test_a_file_of_an_older_version_has_the_name_in_its_filename(store: FileStore, redis: Redis) -> None:
    if isinstance(store, RedisFiles):
        redis.set("tq:file:1f0c55d3e8a94b21-photo.jpg", b"x", ex=100)
    else:
        assert isinstance(store, ObjectFiles)
        obstore.put(store._store, "1f0c55d3e8a94b21-photo.jpg", b"x")
    stored, content = store.read("1f0c55d3e8a94b21-photo.jpg")
    assert (stored.name, stored.task_types, content) == ("photo.jpg", None, b"x")


def test_what_is_known_of_a_file_is_no_file(store: FileStore) -> None:
    stored = store.write(b"x", "a.txt")
    for guess in (f"about/{stored.filename}", f"{stored.filename}:about", "about"):
        with pytest.raises(UnknownFile):
            store.read(guess)


@pytest.mark.parametrize("name", ["nope", "../secret", "/etc/passwd", "", "..", "a/../b", "ü"])
def test_an_unknown_name_is_an_unknown_file(store: FileStore, name: str) -> None:
    with pytest.raises(UnknownFile):
        store.read(name)


def test_a_file_that_is_too_large_is_refused(store: FileStore) -> None:
    store.write(b"x" * 1000)
    with pytest.raises(FileTooLarge, match=r"larger than 1,000 bytes \(MAX_FILE_BYTES\)"):
        store.write(b"x" * 1001)


def test_a_file_expires(redis: Redis, files_url: str | None) -> None:
    lasting = open_files(Settings(files_url=files_url, file_ttl_seconds=100), redis)
    filename = lasting.write(b"x").filename
    if files_url is None:
        assert 95 <= redis.ttl(f"tq:file:{filename}") <= 100  # Redis deletes it itself
        return
    with pytest.raises(UnknownFile):
        open_files(Settings(files_url=files_url, file_ttl_seconds=0), redis).read(filename)


@pytest.mark.parametrize("name", ["Отчёт.pdf", "請求書.pdf", ".pdf", "Q1 (final).pdf"])
def test_every_stored_name_keeps_its_ending(store: FileStore, name: str) -> None:
    assert store.write(b"x", name).filename.endswith(".pdf")


def test_a_look_finds_whether_files_can_be_stored(redis: Redis, files_url: str | None, tmp_path: Path) -> None:
    for _ in range(2):  # the second look finds what the first one left
        check_files(Settings(files_url=files_url))
    if files_url is None:
        return
    (tmp_path / "file").write_text("no folder")
    nowhere = "s3://nowhere" if files_url.startswith("s3:") else f"file://{tmp_path}/file/folder"
    with pytest.raises(FilesUnavailable, match="are unavailable"):
        check_files(Settings(files_url=nowhere))
