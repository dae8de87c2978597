"""Fixtures of the job types' tests."""

import json
import os
import shutil
import ssl
import subprocess
import threading
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from aiosmtpd.controller import Controller
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from jobs._smtp_pool import pool
from jobs.sync import SyncSettings, sync_table
from tests.conftest import START_SECONDS, free_port, missing
from tests.jobs.mail_server import Mailbox, Serve


@pytest.fixture(scope="session")
def project(whole_project: Path) -> Path:
    """The workers of these tests have all job types."""
    return whole_project


@dataclass
class Feed:
    """A feed that a test changes as it goes: its body, its headers, its status; and what it was asked."""

    url: str = ""
    body: bytes = b"[]"
    status: int = 200
    headers: dict[str, str] = field(default_factory=lambda: {"Content-Type": "application/json"})
    asked: list[dict[str, str]] = field(default_factory=list)
    big_rows: int = 0  # for /big: so many rows are made as they are sent
    before_answering: Callable[[], object] = lambda: None
    first_body: bytes = b""  # answered once, if there is one

    def answer(self, rows: Any, content_type: str = "application/json", **headers: str) -> None:
        self.body = rows if isinstance(rows, bytes) else json.dumps(rows).encode()
        self.headers = {"Content-Type": content_type} | headers


def handler(feed: Feed) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            feed.asked.append(dict(self.headers.items()))
            if self.path == "/big":
                self.send_response(200)
                self.send_header("Content-Type", "text/csv")
                self.end_headers()
                self.wfile.write(b"id,text\n")
                for start in range(0, feed.big_rows, 1000):
                    lines = (f"{number},{'x' * 500}\n" for number in range(start, start + 1000))
                    self.wfile.write("".join(lines).encode())
                return
            body, feed.first_body = feed.first_body or feed.body, b""
            feed.before_answering()
            known = feed.headers.get("ETag")
            if known and self.headers.get("If-None-Match") == known:
                self.send_response(304)
                self.end_headers()
                return
            self.send_response(feed.status)
            for name, value in ({"Content-Length": str(len(body))} | feed.headers).items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            pass

    return Handler


@pytest.fixture
def feed() -> Iterator[Feed]:
    feed = Feed()
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler(feed))
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    feed.url = f"http://127.0.0.1:{server.server_address[1]}/feed"
    yield feed
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture(scope="session")
def postgres(lasting_folder: Path) -> Iterator[str]:
    """A real PostgreSQL of our own; its address without a database's name."""
    installed = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    initdb = str(installed[-1]) if installed else shutil.which("initdb")
    if not initdb:
        missing("PostgreSQL (apt-get install postgresql)")
    programs, port = Path(initdb).parent, free_port()
    folder = lasting_folder / "postgres"
    folder.mkdir()
    as_user: list[str] = []
    if os.geteuid() == 0:  # it does not run as root
        shutil.chown(folder, "postgres", "postgres")
        lasting_folder.chmod(0o755)
        as_user = ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups"]

    def run(*command: str) -> None:
        subprocess.run([*as_user, *command], check=True, capture_output=True, cwd=folder)

    run(str(programs / "initdb"), "-D", f"{folder}/data", "-A", "trust", "-U", "test", "-E", "UTF8")
    options = f"-p {port} -k {folder} -c listen_addresses=127.0.0.1 -c fsync=off"
    run(str(programs / "pg_ctl"), "-D", f"{folder}/data", "-w", "-l", f"{folder}/log", "-o", options, "start")
    yield f"postgresql://test@127.0.0.1:{port}"
    run(str(programs / "pg_ctl"), "-D", f"{folder}/data", "-m", "immediate", "stop")


@pytest.fixture(params=["sqlite", "postgresql"])
def database(request: pytest.FixtureRequest, tmp_path: Path, env: pytest.MonkeyPatch) -> Iterator[sa.Engine]:
    """An empty database, which SYNC_DATABASE_URL names; feeds of this machine are allowed."""
    if request.param == "sqlite":
        url = f"sqlite:///{tmp_path}/new/sync.db"
    else:
        server = request.getfixturevalue("postgres")
        admin = sa.create_engine(f"{server}/postgres".replace("postgresql:", "postgresql+psycopg:"))
        name = f"test_{tmp_path.name}".lower()[:60].replace("-", "_").replace("[", "_").replace("]", "_")
        with admin.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            connection.exec_driver_sql(f'DROP DATABASE IF EXISTS "{name}"')
            connection.exec_driver_sql(f'CREATE DATABASE "{name}"')
        admin.dispose()
        url = f"{server}/{name}"
    env.setenv("SYNC_DATABASE_URL", url)
    env.setenv("OUTBOUND_ALLOW", "127.0.0.1")
    engine = sa.create_engine(SyncSettings.read(os.environ).database_url, poolclass=sa.pool.NullPool)
    (tmp_path / "new").mkdir()
    yield engine
    engine.dispose()


def rows(database: sa.Engine, table: str = "people") -> list[dict[str, Any]]:
    with database.connect() as db:
        rows = db.execute(sa.text(f'SELECT * FROM "{table}" ORDER BY 1')).mappings()
        return [dict(row) for row in rows]


def counts(feed: Feed, **options: Any) -> dict[str, Any]:
    return asdict(sync_table(feed.url, options.pop("table", "people"), options.pop("key", "id"), **options))


@pytest.fixture
def mailbox() -> Mailbox:
    return Mailbox()


@pytest.fixture
def serve(mailbox: Mailbox) -> Iterator[Serve]:
    """Start a real SMTP server on a free port of 127.0.0.1; its port is returned."""
    started: list[Controller] = []

    def start(**options: Any) -> int:
        port = free_port()
        controller = Controller(mailbox, hostname="127.0.0.1", port=port, ready_timeout=START_SECONDS, **options)
        controller.start()
        started.append(controller)
        return port

    yield start
    pool.close()
    for controller in started:
        controller.stop()


@pytest.fixture
def smtp(serve: Serve, env: pytest.MonkeyPatch) -> None:
    """A server that takes mail without a login, at SMTP_URL."""
    env.setenv("SMTP_URL", f"smtp://127.0.0.1:{serve()}")
    env.setenv("MAIL_FROM", "The Shop <shop@example.com>")


@pytest.fixture
def certificate(tmp_path: Path, env: pytest.MonkeyPatch) -> ssl.SSLContext:
    """A server's TLS context for 127.0.0.1, with a certificate that clients of this test trust."""
    key, now = ec.generate_private_key(ec.SECP256R1()), datetime.now(UTC)
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "127.0.0.1")])
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    pem, private = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
    cert_file, key_file = tmp_path / "cert.pem", tmp_path / "key.pem"
    cert_file.write_bytes(certificate.public_bytes(pem))
    key_file.write_bytes(key.private_bytes(pem, private, serialization.NoEncryption()))
    env.setenv("SSL_CERT_FILE", str(cert_file))
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(cert_file, key_file)
    return context
