"""Stores files in a bucket or a folder (FILES_URL), with obstore: the extra `files`."""

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from urllib.parse import parse_qsl, urlencode

import obstore
from obstore.exceptions import BaseError, PermissionDeniedError
from obstore.store import LocalStore, ObjectStore, from_url

from taskqueue.errors import FilesUnavailable, UnknownFile
from taskqueue.run import file_names
from taskqueue.run.files import About, Filenames, StoredFile, check_size, stored_file
from taskqueue.settings import Settings

ABOUT = "about/"  # a folder for what is known of each file; FILENAME allows no slash, so nobody can ask for it
MAX_ERROR_CHARACTERS = 300  # of the library's message
# A bucket that answers at all does so within milliseconds. 16 MiB in 8 seconds are 17 Mbit/s.
BUCKET_TIMEOUT = timedelta(seconds=8)  # of one request
BUCKET_CONNECT_TIMEOUT = timedelta(seconds=3)
PROBE = ".probe"  # an empty file; FILENAME does not allow this name
PROBE_TIMEOUT = timedelta(seconds=1.5)  # of one request; there are at most two
BUCKET_RETRY_TIMEOUT = timedelta(
    seconds=2
)  # an error of the bucket that comes later is not followed by a second try
QUERY = re.compile(r"\?[^\s\"')]*")  # of a URL in a message: Azure's keys may be in it


def open_bucket(settings: Settings, names: Filenames) -> "ObjectFiles":
    """Return the file store at FILES_URL."""
    bucket = _bucket(settings.files_url or "", BUCKET_TIMEOUT, BUCKET_CONNECT_TIMEOUT, retries=1)
    return ObjectFiles(bucket, settings, names)


def check_bucket(settings: Settings) -> None:
    """Look whether the bucket or the folder answers and takes files. Raises `FilesUnavailable`."""
    with _storing(settings):
        bucket = _bucket(settings.files_url or "", PROBE_TIMEOUT, PROBE_TIMEOUT, retries=0)
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


class ObjectFiles:
    """Stores files in a bucket or a folder. Expired files are not read; a rule of the bucket must delete them."""

    def __init__(self, store: ObjectStore, settings: Settings, names: Filenames) -> None:
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
        check_size(len(content), self._settings)
        filename, about = self._names.new(name, key, task_types)
        with _storing(self._settings):
            if self._is_folder:
                obstore.put(self._store, ABOUT + filename, urlencode(about.fields()).encode())
                obstore.put(self._store, filename, content)
            else:
                obstore.put(self._store, filename, content, attributes=about.fields())
        return stored_file(filename, about, content, self._expiry(datetime.now(UTC)))

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
        check_size(stored.meta["size"], self._settings)
        with _bucket_errors(self._settings):
            content = bytes(stored.bytes())
            fields = self._fields_of_folder(filename) if self._is_folder else dict(stored.attributes)
        return stored_file(filename, About.read(filename, fields), content, expires_at), content

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
