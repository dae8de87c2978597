"""Stored files: in a real Redis, a folder, and a real S3 server."""

from collections.abc import Iterator
from pathlib import Path

import boto3
import pytest
from moto.server import ThreadedMotoServer
from redis import Redis

from taskqueue.errors import FileTooLarge, UnknownFile
from taskqueue.run.files import FileStore, content_type, open_files
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
    assert all(name.endswith("-c-.PNG") and len(name.partition("-")[0]) == 16 for name in names)


def test_with_a_key_a_second_write_overwrites(store: FileStore) -> None:
    first = store.write(b"one", "a.txt", key="5c1f7c1e-0001")
    second = store.write(b"two", "a.txt", key="5c1f7c1e-0001")
    assert first.filename == second.filename == "5c1f7c1e0001-a.txt"
    assert store.read(first.filename)[1] == b"two"


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


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        (b"\x89PNG\r\n\x1a\n" + bytes(50), "image/png"),
        (b"%PDF-1.7", "application/pdf"),
        (b"<!DOCTYPE html><p>", "text/html"),
        ("Grüße".encode(), "text/plain"),
        (b"\x00\xff\xfe\x01", "application/octet-stream"),
        (b"", "text/plain"),
    ],
)
def test_the_type_is_what_the_content_shows(content: bytes, kind: str) -> None:
    assert content_type(content) == kind


@pytest.mark.parametrize(
    ("name", "content", "kind"),
    [
        ("a.zip", b"PK\x03\x04xx", "application/zip"),
        ("a.xlsx", b"PK\x03\x04xx", "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"),
        ("a.pptx", b"PK\x03\x04xx", "application/vnd.openxmlformats-officedocument.presentationml.presentation"),
        ("a.odt", b"PK\x03\x04xx", "application/vnd.oasis.opendocument.text"),
        ("a.jar", b"PK\x03\x04xx", "application/java-archive"),
        ("a.pdf", b"PK\x03\x04xx", "application/zip"),
        ("cars.csv", b"BMW,1\n", "text/csv"),
        ("P1.csv", b"P1,late\n", "text/csv"),
        ("ids.csv", b"ID;name\n1;a\n", "text/csv"),
        ("city.csv", b"CITY,1\n", "text/csv"),
        ("00.csv", b"00123,screw\n", "text/csv"),
        ("latin.csv", b"M\xfcller\n", "text/csv"),
        ("(a).txt", b"(a) first\n", "text/plain"),
        ("from.txt", b"From: a\nTo: b\n", "text/plain"),
        ("old.eml", b"From: a\nTo: b\n", "message/rfc822"),
        ("utf16.csv", "a,b".encode("utf-16"), "text/csv"),
        ("utf16.txt", "a,b".encode("utf-16"), "application/octet-stream"),
        ("a.txt", b"%PDF-1.7", "application/pdf"),
        ("a.pdf", b"%PDF-1.7", "application/pdf"),
        ("a.png", b"<!DOCTYPE html><p>", "text/html"),
        ("a.png", b"just words", "text/plain"),
        ("a.csv", b"\x89PNG\r\n\x1a\n" + bytes(50), "image/png"),
        ("a.png", b"\x00\xff\xfe\x01", "application/octet-stream"),
    ],
)
def test_the_ending_decides_what_the_content_leaves_open(name: str, content: bytes, kind: str) -> None:
    assert content_type(content, name) == kind


@pytest.mark.parametrize("name", ["Отчёт.pdf", "請求書.pdf", ".pdf", "Q1 (final).pdf"])
def test_every_stored_name_keeps_its_ending(store: FileStore, name: str) -> None:
    assert store.write(b"x", name).filename.endswith(".pdf")
