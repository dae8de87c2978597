"""Files that come with the library: scripts, styles, pictures."""

from functools import cache
from hashlib import sha256
from io import BytesIO
from pathlib import Path

from flask import Response, send_file


def library_file(path: Path, max_age_seconds: int) -> Response:
    """Return the answer with a file of the library, which browsers may keep. It leaves no file open."""
    content, tag = _read(path)
    return send_file(BytesIO(content), download_name=path.name, max_age=max_age_seconds, etag=tag)


@cache
def _read(path: Path) -> tuple[bytes, str]:
    """Return the content of a file and its ETag."""
    content = path.read_bytes()
    return content, sha256(content).hexdigest()[:16]
