"""Stores files of requests and jobs: in Redis with a lifetime, or in a bucket or a folder (FILES_URL)."""

import os
import re
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Protocol, Self
from urllib.parse import parse_qsl, quote, unquote, urlencode

import obstore
from obstore.exceptions import BaseError, PermissionDeniedError
from obstore.store import LocalStore, ObjectStore, from_url
from redis import Redis

from taskqueue.errors import FilesUnavailable, FileTooLarge, UnknownFile
from taskqueue.run import file_names
from taskqueue.run.media_type import content_type
from taskqueue.settings import Settings
from taskqueue.store.connection import redis_errors
from taskqueue.store.keys import decoded, file_about_key, file_key, file_secret_key

SECRET_BYTES = 16  # of a filename: who knows it may read the file
ABOUT = "about/"  # a folder for what is known of each file; FILENAME allows no slash, so nobody can ask for it
MAX_ERROR_CHARACTERS = 300  # of the library's message
# A bucket that answers at all does so within milliseconds. 16 MiB in 8 seconds are 17 Mbit/s.
BUCKET_TIMEOUT = timedelta(seconds=8)  # of one request
BUCKET_CONNECT_TIMEOUT = timedelta(seconds=3)
PROBE = ".probe"  # an empty file; FILENAME does not allow this name
PROBE_TIMEOUT = timedelta(seconds=1.5)  # of one request; there are at most two
BUCKET_RETRY_TIMEOUT = timedelta(
    seconds=2
)  # after this time, an error of the bucket is not followed by a second try
QUERY = re.compile(r"\?[^\s\"')]*")  # of a URL in a message: Azure's keys may be in it


@dataclass(frozen=True, kw_only=True)
class StoredFile:
    """A file in the store. `content_type` comes from the content, and where that leaves it open, from the name."""

    filename: str
    name: str  # that its sender gave it, in any script
    size: int  # bytes
    content_type: str
    task_types: tuple[str, ...] | None  # a key for some task types reads it if it is for all of these; None: never
    expires_at: datetime


class FileStore(Protocol):
    """Stores files. `write` makes up the filename, which nobody can guess."""

    def write(
        self,
        content: bytes,
        name: str = "file",
        *,
        key: str | None = None,
        task_types: tuple[str, ...] | None = None,
    ) -> StoredFile:
        """Store `content`, and return the file; `name` ("photo.jpg") is the name that people see.

        With a `key`, such as a task's id, the same call uses the same filename and overwrites the file: a job that
        runs twice leaves one file. The file belongs to `task_types`; in a job to the job's type, if it names none.
        Raises `FileTooLarge`, `QueueUnavailable`, `FilesUnavailable`.
        """

    def read(self, filename: str) -> tuple[StoredFile, bytes]:
        """Return the file and its content. Raises `UnknownFile`, and what `write` raises."""


def open_files(settings: Settings, connection: Redis, task_type: str | None = None) -> FileStore:
    """Return the file store that the settings name; `task_type` is the type of the job that uses it."""
    names = _Filenames(connection, settings, task_type)
    if settings.files_url is None:
        return RedisFiles(connection, settings, names)
    bucket = _bucket(settings.files_url, BUCKET_TIMEOUT, BUCKET_CONNECT_TIMEOUT, retries=1)
    return ObjectFiles(bucket, settings, names)


def check_files(settings: Settings) -> None:
    """Look whether the bucket or the folder of FILES_URL answers and takes files, within about 3 seconds.

    Raises `FilesUnavailable`. Without FILES_URL there is nothing to look at.
    """
    if settings.files_url is None:
        return
    with _storing(settings):
        bucket = _bucket(settings.files_url, PROBE_TIMEOUT, PROBE_TIMEOUT, retries=0)
        try:
            obstore.head(bucket, PROBE)
        except (FileNotFoundError, PermissionDeniedError):  # S3 says 403 for 404 to a user who may not list
            obstore.put(bucket, PROBE, b"")


def _bucket(files_url: str, timeout: timedelta, connect_timeout: timedelta, *, retries: int) -> ObjectStore:
    if files_url.startswith("file:"):
        return from_url(files_url, mkdir=True)
    return from_url(
        files_url,
        client_options={
            "timeout": timeout,
            "connect_timeout": connect_timeout,
            # The library reads it itself only where it is given no options.
            "allow_http": os.environ.get("AWS_ALLOW_HTTP", "").lower() in ("1", "true", "yes", "on"),
        },
        retry_config={"max_retries": retries, "retry_timeout": BUCKET_RETRY_TIMEOUT},
    )


@dataclass(frozen=True)
class _About:
    """What is known of a file besides its content."""

    name: str
    task_types: tuple[str, ...] | None = None

    def fields(self) -> dict[Any, Any]:
        """Return texts in ASCII: a bucket keeps them as headers."""
        types = {} if self.task_types is None else {"types": ",".join(self.task_types)}
        return {"name": quote(self.name, safe=""), **types}

    @classmethod
    def read(cls, filename: str, fields: dict[str, str]) -> Self:
        """Read what `fields` has made; of a file that an older version or another program stored there is none."""
        name = unquote(fields["name"]) if "name" in fields else file_names.name_in(filename)
        types = fields.get("types")
        return cls(name, None if types is None else tuple(types.split(",")))


class _Filenames:
    """Makes up filenames. Redis keeps the secret that belongs to a key, for as long as a file lives."""

    def __init__(self, connection: Redis, settings: Settings, task_type: str | None) -> None:
        self._connection = connection
        self._lifetime = settings.file_ttl_seconds
        self._task_type = task_type

    def new(self, name: str, key: str | None, task_types: tuple[str, ...] | None) -> tuple[str, _About]:
        """Return the filename for a file, and what is known of the file. Raises `QueueUnavailable`."""
        if task_types is None and self._task_type:
            task_types = (self._task_type,)
        name = file_names.shown_name(name)
        return file_names.filename(self._secret(key), name), _About(name, task_types)

    def _secret(self, key: str | None) -> str:
        secret = secrets.token_hex(SECRET_BYTES)
        if key is None:
            return secret
        place = file_secret_key(self._task_type or "", key)
        with redis_errors(), self._connection.pipeline() as pipeline:
            pipeline.set(place, secret, nx=True)
            pipeline.expire(place, self._lifetime)
            pipeline.get(place)
            return str(pipeline.execute()[-1].decode())


class RedisFiles:
    """Stores files as strings in Redis, which deletes them when they expire."""

    def __init__(self, connection: Redis, settings: Settings, names: _Filenames) -> None:
        self._connection = connection
        self._settings = settings
        self._names = names

    def write(
        self,
        content: bytes,
        name: str = "file",
        *,
        key: str | None = None,
        task_types: tuple[str, ...] | None = None,
    ) -> StoredFile:
        _check_size(len(content), self._settings)
        filename, about = self._names.new(name, key, task_types)
        lifetime = self._settings.file_ttl_seconds
        with redis_errors(), self._connection.pipeline() as pipeline:
            pipeline.delete(file_about_key(filename))
            pipeline.hset(file_about_key(filename), mapping=about.fields())
            pipeline.expire(file_about_key(filename), lifetime)
            pipeline.set(file_key(filename), content, ex=lifetime)
            pipeline.execute()
        return _stored(filename, about, content, datetime.now(UTC) + timedelta(seconds=lifetime))

    def read(self, filename: str) -> tuple[StoredFile, bytes]:
        if not file_names.FILENAME.fullmatch(filename):
            raise UnknownFile(filename)
        with redis_errors(), self._connection.pipeline() as pipeline:
            pipeline.get(file_key(filename))
            pipeline.pttl(file_key(filename))
            pipeline.hgetall(file_about_key(filename))
            content, left_ms, fields = pipeline.execute()
        if content is None:
            raise UnknownFile(filename)
        about = _About.read(filename, {decoded(name): decoded(value) for name, value in fields.items()})
        return _stored(filename, about, content, datetime.now(UTC) + timedelta(milliseconds=left_ms)), content


class ObjectFiles:
    """Stores files in a bucket or a folder. Expired files are not read; a rule of the bucket must delete them."""

    def __init__(self, store: ObjectStore, settings: Settings, names: _Filenames) -> None:
        self._store = store
        self._settings = settings
        self._names = names
        self._is_folder = isinstance(store, LocalStore)  # its objects have no metadata

    def write(
        self,
        content: bytes,
        name: str = "file",
        *,
        key: str | None = None,
        task_types: tuple[str, ...] | None = None,
    ) -> StoredFile:
        _check_size(len(content), self._settings)
        filename, about = self._names.new(name, key, task_types)
        with _storing(self._settings):
            if self._is_folder:
                obstore.put(self._store, ABOUT + filename, urlencode(about.fields()).encode())
                obstore.put(self._store, filename, content)
            else:
                obstore.put(self._store, filename, content, attributes=about.fields())
        return _stored(filename, about, content, self._expiry(datetime.now(UTC)))

    def read(self, filename: str) -> tuple[StoredFile, bytes]:
        if not file_names.FILENAME.fullmatch(filename):
            raise UnknownFile(filename)
        try:
            with _bucket_errors(self._settings):
                stored = obstore.get(self._store, filename)
        except FileNotFoundError:
            raise UnknownFile(filename) from None
        expires_at = self._expiry(stored.meta["last_modified"])
        if expires_at <= datetime.now(UTC):
            raise UnknownFile(filename)
        # Another program may have put it there, so the limit applies to reading, too.
        _check_size(stored.meta["size"], self._settings)
        with _bucket_errors(self._settings):
            content = bytes(stored.bytes())
            fields = self._fields_of_folder(filename) if self._is_folder else dict(stored.attributes)
        return _stored(filename, _About.read(filename, fields), content, expires_at), content

    def _fields_of_folder(self, filename: str) -> dict[str, str]:
        try:
            fields = bytes(obstore.get(self._store, ABOUT + filename).bytes())
        except FileNotFoundError:
            return {}
        return dict(parse_qsl(fields.decode(errors="replace")))

    def _expiry(self, written_at: datetime) -> datetime:
        return written_at + timedelta(seconds=self._settings.file_ttl_seconds)


@contextmanager
def _bucket_errors(settings: Settings) -> Iterator[None]:
    """Raise `FilesUnavailable` for the library's errors, but `FileNotFoundError` as it is."""
    try:
        yield
    except FileNotFoundError:
        raise
    except (BaseError, OSError) as error:
        raise _unavailable(settings, str(error).partition("\n")[0]) from None


@contextmanager
def _storing(settings: Settings) -> Iterator[None]:
    """Raise `FilesUnavailable` for the library's errors while something is stored."""
    try:
        with _bucket_errors(settings):
            yield
    except FileNotFoundError:
        raise _unavailable(settings, "there is no such bucket.") from None


def _unavailable(settings: Settings, reason: str) -> FilesUnavailable:
    url = QUERY.sub("", settings.files_url or "")
    return FilesUnavailable(
        f"The files at {url} are unavailable: {QUERY.sub('?…', reason)[:MAX_ERROR_CHARACTERS]}"
    )


def _check_size(size: int, settings: Settings) -> None:
    if size > settings.max_file_bytes:
        raise FileTooLarge(settings.max_file_bytes)


def _stored(filename: str, about: _About, content: bytes, expires_at: datetime) -> StoredFile:
    return StoredFile(
        filename=filename,
        name=about.name,
        size=len(content),
        content_type=content_type(content, about.name),
        task_types=about.task_types,
        expires_at=expires_at,
    )
