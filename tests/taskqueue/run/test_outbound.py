"""Requests to URLs that a client chose."""

import gzip
import ipaddress
import logging
import threading
import traceback
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
import urllib3

from taskqueue.errors import AddressRefused, InvalidSetting, PermanentFailure
from taskqueue.run.outbound import MAX_RETRY_AFTER_SECONDS, OutboundSettings, get, post, retry_after

LOCAL = OutboundSettings.read({"OUTBOUND_ALLOW": "127.0.0.1"})
NOTHING = OutboundSettings()


class Handler(BaseHTTPRequestHandler):
    """Each path has one habit."""

    hosts_seen: list[str]

    def do_GET(self) -> None:
        type(self).hosts_seen.append(self.headers["Host"])
        path, _, argument = self.path.partition("?")
        match path:
            case "/redirect":
                self.answer(302, b"", Location=argument)
            case "/loop":
                self.answer(302, b"", Location="/loop")
            case "/bomb":
                self.answer(200, gzip.compress(bytes(50_000_000)), **{"Content-Encoding": "gzip"})
            case "/drip":
                self.send_response(200)
                self.end_headers()
                try:
                    while not self.server.stopping.wait(0.05):  # type: ignore[attr-defined]
                        self.wfile.write(b"x")
                except OSError:
                    pass
            case "/short":
                self.answer(200, b"half", **{"Content-Length": "100"})
            case _:
                self.answer(200, b"hello")

    def do_POST(self) -> None:
        type(self).hosts_seen.append(self.headers["Host"])
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.answer(
            302 if self.path == "/redirect" else 200 if body == b"hello" else 400, b"", Location="/elsewhere"
        )

    def answer(self, status: int, body: bytes, **headers: str) -> None:
        self.send_response(status)
        for name, value in ({"Content-Length": str(len(body))} | headers).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        pass


@pytest.fixture
def server() -> Iterator[str]:
    Handler.hosts_seen = []
    httpd = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    httpd.stopping = threading.Event()  # type: ignore[attr-defined]
    thread = threading.Thread(target=httpd.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    yield f"http://127.0.0.1:{httpd.server_address[1]}"
    httpd.stopping.set()  # type: ignore[attr-defined]
    httpd.shutdown()
    httpd.server_close()
    thread.join()


def fetch(
    url: str,
    settings: OutboundSettings = LOCAL,
    limit_bytes: int = 1000,
    limit_seconds: float = 10,
    addresses: dict[str, list[str]] | None = None,
) -> bytes:
    options: dict[str, Callable[[str, int], list[str]]] = {}
    if addresses is not None:
        options["resolve"] = lambda host, _port: addresses[host]
    with get(url, settings=settings, limit_bytes=limit_bytes, limit_seconds=limit_seconds, **options) as answer:
        return b"".join(answer.chunks())


def test_an_allowed_address_is_fetched(server: str) -> None:
    assert fetch(server) == b"hello"


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1",
        "10.0.0.1",
        "172.16.0.1",
        "192.168.1.1",
        "169.254.169.254",
        "100.64.0.1",
        "0.0.0.0",
        "224.0.0.1",
        "255.255.255.255",
        "240.0.0.1",
        "::1",
        "::",
        "fe80::1%eth0",
        "fc00::1",
        "::ffff:127.0.0.1",
        "::ffff:10.0.0.1",
        "2002:7f00:1::",
        "64:ff9b::7f00:1",
        "ff02::1",
    ],
)
def test_an_address_that_is_not_public_is_refused_whatever_name_it_has(address: str) -> None:
    with pytest.raises(
        AddressRefused, match=r"evil\.example \(at .* To allow it, name evil\.example in OUTBOUND_ALLOW"
    ):
        fetch("http://evil.example/", NOTHING, addresses={"evil.example": [address]})


def test_one_private_address_among_public_ones_is_refused() -> None:
    with pytest.raises(AddressRefused):
        fetch("http://evil.example/", NOTHING, addresses={"evil.example": ["93.184.216.34", "127.0.0.1"]})


@pytest.mark.parametrize(
    "url",
    [
        "http://2130706433/",
        "http://127.1/",
        "http://0x7f000001/",
        "http://0177.0.0.1/",
        "http://localhost/",
        "http://LOCALHOST./",
        "http://[::1]/",
        "http://[::ffff:127.0.0.1]/",
        "http://①②⑦.⓪.⓪.①/",
    ],
)
def test_this_machine_is_refused_however_it_is_written(url: str) -> None:
    with pytest.raises(AddressRefused):
        fetch(url, NOTHING)


@pytest.mark.parametrize(
    "url",
    [
        "ftp://example.com/",
        "file:///etc/passwd",
        "gopher://example.com",
        "http://",
        "//example.com",
        "http://user:pass@example.com/",
        "http://example.com:port/",
        "http://[::1",
    ],
)
def test_what_is_no_http_url_is_refused(url: str) -> None:
    with pytest.raises(PermanentFailure):
        fetch(url, NOTHING)


def test_a_redirect_to_a_private_address_is_refused(server: str) -> None:
    with pytest.raises(AddressRefused, match=r"10\.0\.0\.1"):
        fetch(f"{server}/redirect?http://10.0.0.1/")


def test_a_redirect_to_an_allowed_address_is_followed(server: str) -> None:
    assert fetch(f"{server}/redirect?/elsewhere") == b"hello"


def test_redirects_end(server: str) -> None:
    with pytest.raises(PermanentFailure, match="more than 5 redirects"):
        fetch(f"{server}/loop")


def test_the_connection_goes_to_the_checked_address_with_the_name_in_the_request(server: str) -> None:
    """A second DNS answer cannot differ: there is none."""
    port = server.rpartition(":")[2]
    asked: list[str] = []

    def resolve(host: str, _port: int) -> list[str]:
        asked.append(host)
        return ["127.0.0.1"] if len(asked) == 1 else ["10.0.0.1"]

    allowed = OutboundSettings.read({"OUTBOUND_ALLOW": "feed.example"})
    url = f"http://feed.example:{port}/"
    with get(url, settings=allowed, limit_bytes=10, limit_seconds=5, resolve=resolve) as answer:
        assert b"".join(answer.chunks()) == b"hello"
    assert asked == ["feed.example"]
    assert Handler.hosts_seen == [f"feed.example:{port}"]


def test_a_bomb_is_stopped_at_the_limit(server: str) -> None:
    with pytest.raises(PermanentFailure, match="more than 1,000,000 bytes"):
        fetch(f"{server}/bomb", limit_bytes=1_000_000)


def test_a_server_that_drips_is_left_in_time(server: str) -> None:
    with pytest.raises(TimeoutError, match="took too long"):
        fetch(f"{server}/drip", limit_bytes=10**9, limit_seconds=0.3)


def test_a_body_that_breaks_off_is_an_error_that_may_pass(server: str) -> None:
    with pytest.raises(ConnectionError, match="broke off"):
        fetch(f"{server}/short")


def test_a_server_that_is_away_is_an_error_that_may_pass() -> None:
    with pytest.raises(ConnectionError, match="cannot be reached"):
        fetch("http://127.0.0.1:1/")


def test_a_name_that_does_not_resolve_is_an_error_that_may_pass() -> None:
    with pytest.raises(ConnectionError, match="cannot be resolved"):
        fetch("http://nowhere.invalid/", NOTHING)


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1:1/hunter2",
        "http://127.0.0.1:1/a/b?key=hunter2",
        "http://127.0.0.1:1?hunter2",
        "http://127.0.0.1:99999/hunter2?key=hunter2",
        "http://127.0.0.1:99999#hunter2",
        "http://user:hunter2@127.0.0.1:1/",
        "http://user:hunter2@127.0.0.1:99999/",
        "http://[::1/hunter2",
        "ftp://127.0.0.1/hunter2",
        "hunter2",
        "//127.0.0.1/hunter2",
        "http:///hunter2",
        "http://\u2100.example/hunter2",
        "http://127.0.0.1:1/\ud800hunter2",
        "http://127.0.0.1:1\\hunter2",
    ],
)
def test_only_a_host_is_shown_in_messages(url: str) -> None:
    """Receivers' tokens are in paths, keys in queries."""
    with pytest.raises((ConnectionError, PermanentFailure)) as raised:
        fetch(url)
    assert "hunter2" not in "".join(traceback.format_exception(raised.value))
    with pytest.raises((ConnectionError, PermanentFailure)) as raised:
        post(url, b"", settings=LOCAL, headers={})
    assert "hunter2" not in "".join(traceback.format_exception(raised.value))


def test_no_path_and_no_query_is_logged(server: str, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG):
        assert fetch(f"{server}/hunter2?token=hunter2") == b"hello"
        assert fetch(f"{server}/redirect?{server}/hunter2") == b"hello"
        post(f"{server}/hunter2?token=hunter2", b"hello", settings=LOCAL, headers={})
        urllib3.request("GET", f"{server}/of-somebody-else")
    assert "hunter2" not in caplog.text
    assert f"POST {server}/…: 200" in caplog.text
    assert "/of-somebody-else" in caplog.text


def test_a_redirect_shows_only_hosts(server: str) -> None:
    for path in (
        "/redirect?http://127.0.0.1:1/hunter2",
        "/redirect?ftp://127.0.0.1/hunter2",
        "/redirect?http://127.0.0.1:99999/hunter2",
    ):
        with pytest.raises((ConnectionError, PermanentFailure)) as raised:
            fetch(server + path)
        assert "hunter2" not in "".join(traceback.format_exception(raised.value))


def test_a_network_can_be_allowed() -> None:
    settings = OutboundSettings.read({"OUTBOUND_ALLOW": "10.1.0.0/16, Feeds.Internal"})
    with pytest.raises(AddressRefused):
        fetch("http://a.example/", settings, addresses={"a.example": ["10.2.0.1"]})
    assert settings.hosts == {"feeds.internal"}


def test_a_bad_setting_is_refused_by_name() -> None:
    with pytest.raises(InvalidSetting, match="OUTBOUND_ALLOW must be host names"):
        OutboundSettings.read({"OUTBOUND_ALLOW": "http://feeds"})


class TestPost:
    def test_a_body_is_posted_and_the_status_told(self, server: str) -> None:
        assert post(f"{server}/path?a=1", b"hello", settings=LOCAL, headers={}) == 200

    def test_a_redirect_is_not_followed(self, server: str) -> None:
        assert post(f"{server}/redirect", b"hello", settings=LOCAL, headers={}) == 302
        assert len(Handler.hosts_seen) == 1

    def test_a_private_address_is_refused_whatever_its_name(self, server: str) -> None:
        for url in (server, server.replace("127.0.0.1", "rebinding.example")):
            with pytest.raises(AddressRefused, match="is not a public address"):
                post(url, b"hello", settings=NOTHING, headers={}, resolve=lambda _host, _port: ["127.0.0.1"])
        assert Handler.hosts_seen == []

    def test_who_is_not_there_may_be_later(self) -> None:
        with pytest.raises(ConnectionError, match="cannot be reached"):
            post("http://127.0.0.1:1/?key=hunter2", b"hello", settings=LOCAL, headers={})


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("120", 120),
        (" 0 ", 0),
        ("999999999", MAX_RETRY_AFTER_SECONDS),
        ("9" * 400, MAX_RETRY_AFTER_SECONDS),
        (timedelta(seconds=120), 120),
        (timedelta(seconds=-120), 0),
        (timedelta(days=100), MAX_RETRY_AFTER_SECONDS),
        ("Fri, 31 Dec 9999 23:59:59 GMT", MAX_RETRY_AFTER_SECONDS),
        ("Wed, 25 Nov 2026 10:00:00", 0),
        ("", 0),
        ("soon", 0),
        ("-5", 0),
        ("1.5", 0),
        ("٣", 0),
    ],
)
def test_retry_after_is_a_number_of_seconds_or_a_date_and_bounded(value: str | timedelta, seconds: float) -> None:
    if isinstance(value, timedelta):
        value = format_datetime(datetime.now(UTC) + value, usegmt=True)
    assert retry_after({"Retry-After": value}) == pytest.approx(seconds, abs=2)
    assert retry_after({}) == 0


@pytest.mark.parametrize(
    ("address", "public"),
    [
        ("fec0::1", False),
        ("feff:ffff::1", False),
        ("192.0.0.8", False),
        ("192.0.0.9", False),
        ("192.0.0.255", False),
        ("::ffff:192.0.0.8", False),
        ("64:ff9b::c000:8", False),
        ("192.0.1.1", True),
        ("2606:4700::1", True),
    ],
)
def test_addresses_of_no_network_of_the_internet_are_not_public(address: str, public: bool) -> None:
    assert OutboundSettings().allows("feed.example", ipaddress.ip_address(address)) is public
