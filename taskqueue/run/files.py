"""Stores files of requests and jobs: in Redis with a lifetime, or in a bucket or a folder (FILES_URL)."""

import os
import re
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Protocol

import obstore
import puremagic
from obstore.exceptions import BaseError
from obstore.store import ObjectStore, from_url
from redis import Redis

from taskqueue.errors import FilesUnavailable, FileTooLarge, UnknownFile
from taskqueue.settings import Settings
from taskqueue.store.connection import redis_errors
from taskqueue.store.keys import file_key

FILENAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
MAX_NAME_CHARACTERS = 80  # of the client's name for the file
SNIFFED_BYTES = 4096  # read to find the media type
# A bucket that answers at all does so within milliseconds. 16 MiB in 8 seconds are 17 Mbit/s.
MAX_ERROR_CHARACTERS = 300  # of the library's message
BUCKET_TIMEOUT = timedelta(seconds=8)  # of one request
BUCKET_CONNECT_TIMEOUT = timedelta(seconds=3)
BUCKET_RETRY_TIMEOUT = timedelta(
    seconds=2
)  # after this time, an error of the bucket is not followed by a second try
QUERY = re.compile(r"\?[^\s\"')]*")  # of a URL in a message: Azure's keys may be in it


@dataclass(frozen=True, kw_only=True)
class StoredFile:
    """A file in the store. `content_type` comes from the content, never from the sender."""

    filename: str
    size: int  # bytes
    content_type: str
    expires_at: datetime


class FileStore(Protocol):
    """Stores files. `write` makes up the filename; without a `key` nobody can guess it."""

    def write(self, content: bytes, name: str = "file", *, key: str | None = None) -> StoredFile:
        """Store `content`, and return the file; `name` ("photo.jpg") becomes the end of the filename.

        With a `key`, such as a task's id, the same call uses the same filename and overwrites the file: a job that
        runs twice leaves one file. Raises `FileTooLarge`, `QueueUnavailable`, `FilesUnavailable`.
        """

    def read(self, filename: str) -> tuple[StoredFile, bytes]:
        """Return the file and its content. Raises `UnknownFile`, and what `write` raises."""


def open_files(settings: Settings, connection: Redis) -> FileStore:
    """Return the file store that the settings name."""
    if settings.files_url is None:
        return RedisFiles(connection, settings)
    if settings.files_url.startswith("file:"):
        return ObjectFiles(from_url(settings.files_url, mkdir=True), settings)
    bucket = from_url(
        settings.files_url,
        client_options={
            "timeout": BUCKET_TIMEOUT,
            "connect_timeout": BUCKET_CONNECT_TIMEOUT,
            # The library reads it itself only where it is given no options.
            "allow_http": os.environ.get("AWS_ALLOW_HTTP", "").lower() in ("1", "true", "yes", "on"),
        },
        retry_config={"max_retries": 1, "retry_timeout": BUCKET_RETRY_TIMEOUT},
    )
    return ObjectFiles(bucket, settings)


class RedisFiles:
    """Stores files as strings in Redis, which deletes them when they expire."""

    def __init__(self, connection: Redis, settings: Settings) -> None:
        self._connection = connection
        self._settings = settings

    def write(self, content: bytes, name: str = "file", *, key: str | None = None) -> StoredFile:
        _check_size(content, self._settings)
        filename = _filename(name, key)
        lifetime = self._settings.file_ttl_seconds
        with redis_errors():
            self._connection.set(file_key(filename), content, ex=lifetime)
        return _stored(filename, content, datetime.now(UTC) + timedelta(seconds=lifetime))

    def read(self, filename: str) -> tuple[StoredFile, bytes]:
        with redis_errors(), self._connection.pipeline() as pipeline:
            pipeline.get(file_key(filename))
            pipeline.pttl(file_key(filename))
            content, left_ms = pipeline.execute()
        if content is None:
            raise UnknownFile(filename)
        return _stored(filename, content, datetime.now(UTC) + timedelta(milliseconds=left_ms)), content


class ObjectFiles:
    """Stores files in a bucket or a folder. Expired files are not read; a rule of the bucket must delete them."""

    def __init__(self, store: ObjectStore, settings: Settings) -> None:
        self._store = store
        self._settings = settings

    @contextmanager
    def _errors(self) -> Iterator[None]:
        """Raise `FilesUnavailable` for the library's errors, but `FileNotFoundError` as it is."""
        try:
            yield
        except FileNotFoundError:
            raise
        except (BaseError, OSError) as error:
            url = QUERY.sub("", self._settings.files_url or "")
            what = QUERY.sub("?…", str(error).partition("\n")[0])[:MAX_ERROR_CHARACTERS]
            raise FilesUnavailable(f"The files at {url} are unavailable: {what}") from None

    def write(self, content: bytes, name: str = "file", *, key: str | None = None) -> StoredFile:
        _check_size(content, self._settings)
        filename = _filename(name, key)
        try:
            with self._errors():
                obstore.put(self._store, filename, content)
        except FileNotFoundError:
            url = QUERY.sub("", self._settings.files_url or "")
            raise FilesUnavailable(f"The files at {url} are unavailable: there is no such bucket.") from None
        return _stored(filename, content, self._expiry(datetime.now(UTC)))

    def read(self, filename: str) -> tuple[StoredFile, bytes]:
        if not FILENAME.fullmatch(filename):
            raise UnknownFile(filename)
        try:
            with self._errors():
                stored = obstore.get(self._store, filename)
        except FileNotFoundError:
            raise UnknownFile(filename) from None
        expires_at = self._expiry(stored.meta["last_modified"])
        if expires_at <= datetime.now(UTC):
            raise UnknownFile(filename)
        # Another program may have put it there, so the limit applies to reading, too.
        if stored.meta["size"] > self._settings.max_file_bytes:
            raise FileTooLarge(self._settings.max_file_bytes)
        with self._errors():
            content = bytes(stored.bytes())
        return _stored(filename, content, expires_at), content

    def _expiry(self, written_at: datetime) -> datetime:
        return written_at + timedelta(seconds=self._settings.file_ttl_seconds)


def content_type(content: bytes) -> str:
    """Return the media type that the content itself shows."""
    try:
        media_type = str(puremagic.from_string(content[:SNIFFED_BYTES], mime=True)).strip()
        return media_type or "application/octet-stream"
    except (puremagic.PureError, ValueError):  # an unknown format; an empty file
        pass
    try:
        content.decode()
    except UnicodeDecodeError:
        return "application/octet-stream"
    return "text/plain"


def _check_size(content: bytes, settings: Settings) -> None:
    if len(content) > settings.max_file_bytes:
        raise FileTooLarge(settings.max_file_bytes)


def _filename(name: str, key: str | None) -> str:
    ending = re.sub(r"[^A-Za-z0-9._-]+", "-", name.replace("\\", "/").rsplit("/", 1)[-1]).strip("-.")
    unique = re.sub(r"[^A-Za-z0-9]", "", key) if key else secrets.token_hex(8)
    return f"{unique}-{ending[-MAX_NAME_CHARACTERS:] or 'file'}"


def _stored(filename: str, content: bytes, expires_at: datetime) -> StoredFile:
    return StoredFile(
        filename=filename, size=len(content), content_type=content_type(content), expires_at=expires_at
    )
