"""`/files`: upload a file for a job to read, and download a file that a job made."""

from collections.abc import Callable
from io import BytesIO
from typing import Any, cast
from urllib.parse import quote

from flask import Blueprint, jsonify, request, send_file, url_for
from flask.typing import ResponseReturnValue
from gevent.monkey import is_module_patched
from gevent.threadpool import ThreadPool
from werkzeug.http import parse_options_header

from taskqueue.errors import FileTooLarge, UnknownFile
from taskqueue.run.file_names import name_in
from taskqueue.run.files import FileStore, StoredFile
from taskqueue.settings import Settings
from taskqueue.web.http.access import caller_reads_file, caller_types
from taskqueue.web.http.body import limit_body
from taskqueue.web.http.endpoint import Query, endpoint, read_query
from taskqueue.web.http.problems import BadRequest

FORM_BYTES = 64 * 1024  # of a multipart body besides the file: names, boundaries
THREADS = 20  # that wait for the bucket
SHOWN_INLINE = {"image/png", "image/jpeg", "image/gif", "image/webp", "image/avif", "text/plain"}
"""Media types that a browser may show in its window: it cannot run any of them."""


class UploadQuery(Query):
    """Parameters for a body that is the file itself."""

    filename: str | None = None
    """The name of the file, if the body is the file itself and its Content-Disposition gives no name."""


class InThreads:
    """A file store that is used in threads: its library waits in native code, where gevent cannot switch.

    The threads are its own. gevent's resolver needs gevent's threads for each new connection to Redis: while a
    bucket hangs, they would all wait for it. Under a server with threads, the store is used as it is.
    """

    def __init__(self, store: FileStore) -> None:
        self._store = store
        self._pool: ThreadPool | None = None

    def write(
        self,
        content: bytes,
        name: str = "file",
        *,
        key: str | None = None,
        task_types: tuple[str, ...] | None = None,
    ) -> StoredFile:
        """Write a file in a thread; see `FileStore.write`."""
        return cast("StoredFile", self._apply(self._store.write, content, name, key=key, task_types=task_types))

    def read(self, filename: str) -> tuple[StoredFile, bytes]:
        """Read a file in a thread; see `FileStore.read`."""
        return cast("tuple[StoredFile, bytes]", self._apply(self._store.read, filename))

    def _apply(self, function: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
        if not is_module_patched("threading"):
            return function(*arguments, **options)
        if self._pool is None:  # made by the first request: it belongs to the process and its hub
            self._pool = ThreadPool(THREADS)
        return self._pool.apply(function, arguments, options)


def views(store: FileStore, settings: Settings) -> Blueprint:
    """Return the views of `/files`."""
    if settings.files_url:
        store = InThreads(store)
    blueprint = Blueprint("files", __name__)

    @blueprint.post("/files")
    @endpoint(
        "Upload a file for a job to read",
        scope="submit",
        query=UploadQuery,
        body=bytes,
        answers={201: StoredFile},
        problems=(400, 413, 503),
        headers={"Content-Disposition": "the file's name: attachment; filename*=UTF-8''%D0%9E.pdf (RFC 6266)"},
        by_type=True,
    )
    def upload() -> ResponseReturnValue:
        """The answer's `name` is the file's name in any script; `filename` is what tasks and `GET /files` take."""
        content, name = _uploaded(settings.max_file_bytes)
        file = store.write(content, name, task_types=caller_types())
        return jsonify(file), 201, {"Location": url_for("files.download", filename=file.filename)}

    @blueprint.get("/files/<filename>")
    @endpoint(
        "Download a file",
        scope="read",
        answers={200: (*sorted(SHOWN_INLINE), "application/octet-stream")},
        problems=(404, 503),
        by_type=True,
    )
    def download(filename: str) -> ResponseReturnValue:
        """A key for some task types gets the files of tasks of its types, and what keys for its types uploaded."""
        file, content = store.read(filename)
        if not caller_reads_file(file.task_types):
            raise UnknownFile(filename)
        inline = file.content_type.partition(";")[0] in SHOWN_INLINE
        response = send_file(
            BytesIO(content),
            mimetype="application/octet-stream",
            as_attachment=not inline,
            download_name=file.name,
            etag=False,
        )
        if inline:
            response.content_type = file.content_type
        if not file.name.isascii():  # Flask would leave an old client ".pdf" of "Отчёт.pdf"
            kind, name = response.headers["Content-Disposition"].partition(";")[0], quote(file.name, safe="")
            names = {"filename": name_in(file.filename), "filename*": f"UTF-8''{name}"}
            response.headers.set("Content-Disposition", kind, **names)
        response.headers["Content-Security-Policy"] = "default-src 'none'; sandbox"
        response.headers["Cache-Control"] = "private, no-cache"
        return response

    return blueprint


def _uploaded(limit_bytes: int) -> tuple[bytes, str]:
    """Return the content and the name of the uploaded file: multipart/form-data, or the body itself."""
    multipart = request.mimetype == "multipart/form-data"
    limit_body(limit_bytes + (FORM_BYTES if multipart else 0), FileTooLarge(limit_bytes))
    content = request.get_data()  # also of a form: a parser of half a form would leave a temporary file open
    if not multipart:
        return _not_empty(content), read_query(UploadQuery).filename or _name_in_header() or "file"
    sent = list(request.files.values())
    if len(sent) != 1:
        raise BadRequest(
            400, "one-file", "Send one file", f"The form has {len(sent)} files; send one: -F file=@photo.jpg"
        )
    return _not_empty(sent[0].read()), sent[0].filename or "file"


def _name_in_header() -> str | None:
    """Return the name in Content-Disposition: `filename*`, or `filename`, in which clients often send UTF-8."""
    _, options = parse_options_header(request.headers.get("Content-Disposition"))
    name = options.get("filename")
    try:
        return name and name.encode("latin-1").decode()
    except UnicodeError:  # it was filename*; or it is Latin-1
        return name


def _not_empty(content: bytes) -> bytes:
    if not content:
        raise BadRequest(400, "empty-file", "The file is empty", "Send its content: --data-binary @photo.jpg")
    return content
