"""Stores files of requests and jobs: in Redis with a lifetime, or in a bucket or a folder (FILES_URL)."""

import importlib
import secrets
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from types import ModuleType
from typing import Any, Protocol, Self, cast
from urllib.parse import quote, unquote

from redis import Redis

from taskqueue.errors import FileTooLarge, InvalidSetting, UnknownFile
from taskqueue.run import file_names
from taskqueue.run.media_type import content_type
from taskqueue.settings import Settings
from taskqueue.store.connection import redis_errors
from taskqueue.store.keys import decoded, file_about_key, file_key, file_secret_key

SECRET_BYTES = 16  # of a filename: who knows it may read the file


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
    """Return the file store that the settings name; `task_type` is the type of the job that uses it.

    Raises `InvalidSetting` if FILES_URL needs a package that is not installed.
    """
    names = Filenames(connection, settings, task_type)
    if settings.files_url is None:
        return RedisFiles(connection, settings, names)
    return cast("FileStore", _objects().open_bucket(settings, names))


def check_files(settings: Settings) -> None:
    """Look whether the bucket or the folder of FILES_URL answers and takes files, within about 3 seconds.

    Raises `FilesUnavailable`. Without FILES_URL there is nothing to look at.
    """
    if settings.files_url is not None:
        _objects().check_bucket(settings)


def _objects() -> ModuleType:
    """Return the module for buckets and folders. Raises `InvalidSetting` if its package is not installed."""
    try:
        return importlib.import_module("taskqueue.run.object_files")
    except ModuleNotFoundError as error:
        if error.name != "obstore":
            raise
        raise InvalidSetting("FILES_URL needs obstore: pip install 'taskqueue-rq[files]'") from None


@dataclass(frozen=True)
class About:
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


class Filenames:
    """Makes up filenames. Redis keeps the secret that belongs to a key, for as long as a file lives."""

    def __init__(self, connection: Redis, settings: Settings, task_type: str | None) -> None:
        self._connection = connection
        self._lifetime = settings.file_ttl_seconds
        self._task_type = task_type

    def new(self, name: str, key: str | None, task_types: tuple[str, ...] | None) -> tuple[str, About]:
        """Return the filename for a file, and what is known of the file. Raises `QueueUnavailable`."""
        if task_types is None and self._task_type:
            task_types = (self._task_type,)
        name = file_names.shown_name(name)
        return file_names.filename(self._secret(key), name), About(name, task_types)

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

    def __init__(self, connection: Redis, settings: Settings, names: Filenames) -> None:
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
        check_size(len(content), self._settings)
        filename, about = self._names.new(name, key, task_types)
        lifetime = self._settings.file_ttl_seconds
        with redis_errors(), self._connection.pipeline() as pipeline:
            pipeline.delete(file_about_key(filename))
            pipeline.hset(file_about_key(filename), mapping=about.fields())
            pipeline.expire(file_about_key(filename), lifetime)
            pipeline.set(file_key(filename), content, ex=lifetime)
            pipeline.execute()
        return stored_file(filename, about, content, datetime.now(UTC) + timedelta(seconds=lifetime))

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
        about = About.read(filename, {decoded(name): decoded(value) for name, value in fields.items()})
        return stored_file(filename, about, content, datetime.now(UTC) + timedelta(milliseconds=left_ms)), content


def check_size(size: int, settings: Settings) -> None:
    if size > settings.max_file_bytes:
        raise FileTooLarge(settings.max_file_bytes)


def stored_file(filename: str, about: About, content: bytes, expires_at: datetime) -> StoredFile:
    return StoredFile(
        filename=filename,
        name=about.name,
        size=len(content),
        content_type=content_type(content, about.name),
        task_types=about.task_types,
        expires_at=expires_at,
    )
