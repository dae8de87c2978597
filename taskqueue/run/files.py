"""Stores files of requests and jobs: in Redis with a lifetime, or in a bucket or a folder (FILES_URL)."""

import codecs
import mimetypes
import os
import re
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Protocol

import puremagic
from redis import Redis

from taskqueue.errors import FilesUnavailable, FileTooLarge, InvalidSetting, UnknownFile
from taskqueue.settings import Settings
from taskqueue.store.connection import redis_errors
from taskqueue.store.keys import file_key

if TYPE_CHECKING:  # it is an extra, and needed only where FILES_URL is set
    from obstore.store import ObjectStore

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
ZIP_TYPES = re.compile(r"zip|java-archive|openxmlformats|opendocument|android\.package")
TEXT_TYPES = re.compile(r"^text/|json|xml$|javascript|^message/rfc822$|yaml|^application/(sql|x-sh|rtf)$")
CONTROL_CHARACTERS = re.compile(rb"[\x00-\x06\x0e-\x1a\x1c-\x1f\x7f]")  # that no text has


@dataclass(frozen=True, kw_only=True)
class StoredFile:
    """A file in the store. `content_type` comes from the content, and where that leaves it open, from the name."""

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
    """Return the file store that the settings name. Raises `InvalidSetting` if obstore is needed and missing."""
    if settings.files_url is None:
        return RedisFiles(connection, settings)
    try:
        from obstore.store import from_url
    except ImportError:
        raise InvalidSetting("FILES_URL needs obstore: pip install 'taskqueue-rq[files]'") from None
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

    def __init__(self, store: "ObjectStore", settings: Settings) -> None:
        self._store = store
        self._settings = settings

    @contextmanager
    def _errors(self) -> Iterator[None]:
        """Raise `FilesUnavailable` for the library's errors, but `FileNotFoundError` as it is."""
        from obstore.exceptions import BaseError

        try:
            yield
        except FileNotFoundError:
            raise
        except (BaseError, OSError) as error:
            url = QUERY.sub("", self._settings.files_url or "")
            what = QUERY.sub("?…", str(error).partition("\n")[0])[:MAX_ERROR_CHARACTERS]
            raise FilesUnavailable(f"The files at {url} are unavailable: {what}") from None

    def write(self, content: bytes, name: str = "file", *, key: str | None = None) -> StoredFile:
        import obstore

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
        import obstore

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


def content_type(content: bytes, name: str = "") -> str:
    """Return the media type that the content shows; the ending of `name` decides what the content leaves open."""
    by_name = mimetypes.guess_type(name)[0] or ""
    if content.startswith(b"PK\x03\x04"):  # many formats are a ZIP inside
        return by_name if ZIP_TYPES.search(by_name) else "application/zip"
    is_text = b"\0" not in content and not CONTROL_CHARACTERS.search(content)
    if is_text:
        return _text_type(content, by_name)
    if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        # Not text/plain: that is shown as UTF-8.
        is_named_text = by_name.startswith("text/") and by_name != "text/plain"
        return by_name if is_named_text else "application/octet-stream"
    return _magic_type(content) or "application/octet-stream"


def _text_type(content: bytes, by_name: str) -> str:
    """Return the type of a text. Ordinary words begin like some binary formats: BMW, P1, ID;, From:."""
    by_content = _magic_type(content, not_words=True)
    if by_content and not TEXT_TYPES.search(by_content):
        return by_content  # a PDF of ASCII characters
    if TEXT_TYPES.search(by_name):
        return by_name
    if by_content and not by_name:
        return by_content
    try:
        content.decode()
    except UnicodeDecodeError:
        return "application/octet-stream"
    return by_content if by_content == "text/html" else "text/plain"


def _magic_type(content: bytes, *, not_words: bool = False) -> str:
    try:
        matches = puremagic.magic_string(content[:SNIFFED_BYTES])
    except (puremagic.PureError, ValueError):  # an unknown format; an empty file
        return ""
    best = matches[0]
    mark = best.byte_match
    if not_words and len(mark) < 5 and (len(mark) < 4 or mark.isalnum()):
        return ""
    return str(best.mime_type).strip()


def _check_size(content: bytes, settings: Settings) -> None:
    if len(content) > settings.max_file_bytes:
        raise FileTooLarge(settings.max_file_bytes)


def _filename(name: str, key: str | None) -> str:
    ending = re.sub(r"[^A-Za-z0-9._-]+", "-", name.replace("\\", "/").rsplit("/", 1)[-1])
    if re.fullmatch(r"[-.]*\.[A-Za-z0-9]+", ending):  # a name without a letter in ASCII keeps what it ends in
        ending = f"file{ending[ending.rindex('.') :]}"
    ending = ending.strip("-.")
    unique = re.sub(r"[^A-Za-z0-9]", "", key) if key else secrets.token_hex(8)
    return f"{unique}-{ending[-MAX_NAME_CHARACTERS:] or 'file'}"


def _stored(filename: str, content: bytes, expires_at: datetime) -> StoredFile:
    return StoredFile(
        filename=filename, size=len(content), content_type=content_type(content, filename), expires_at=expires_at
    )
