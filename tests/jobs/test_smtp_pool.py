"""SMTP connections that serve several messages in turn, with real servers."""

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import pytest
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, Envelope, Session

from jobs import _smtp_pool
from jobs._smtp import MailServer, connection, transaction
from jobs._smtp_pool import pool
from tests.conftest import START_SECONDS, free_port, wait_until

MESSAGE = b"Subject: s\r\n\r\nhello\r\n"
ADA = "ada@example.com"


class Post:
    """What a server got, by connection; it hangs up before or after a message if it is told to."""

    def __init__(self) -> None:
        self.by_peer: dict[object, int] = {}
        self.open: list[SMTP] = []
        self.resets = 0

    async def handle_EHLO(  # noqa: N802  aiosmtpd's name
        self, server: SMTP, session: Session, envelope: Envelope, hostname: str, responses: list[str]
    ) -> list[str]:
        session.host_name = hostname
        self.by_peer.setdefault(session.peer, 0)
        self.open.append(server)
        return responses

    async def handle_RSET(self, server: SMTP, session: Session, envelope: Envelope) -> str:  # noqa: N802
        self.resets += 1
        return "250 OK"

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:  # noqa: N802
        self.by_peer[session.peer] += 1
        return "250 OK" if envelope.rcpt_tos == [ADA] else "451 try later"

    def hang_up(self) -> None:
        """Close all connections, as a server does with idle ones."""
        for server in self.open:
            with suppress(AttributeError):
                server.loop.call_soon_threadsafe(server.transport.close)
        self.open.clear()


@pytest.fixture
def post() -> Post:
    return Post()


@pytest.fixture
def server(post: Post) -> Iterator[MailServer]:
    port = free_port()
    controller = Controller(post, hostname="127.0.0.1", port=port, ready_timeout=START_SECONDS)
    controller.start()
    yield MailServer(host="127.0.0.1", port=port, tls_at_once=False, user="", password="")
    pool.close()
    controller.stop()


def send(server: MailServer, recipient: str = ADA) -> None:
    with connection(server) as smtp:
        accepted, _ = transaction(smtp, MESSAGE, "shop@example.com", [recipient])
        assert accepted == [recipient]


def test_one_connection_serves_several_messages(server: MailServer, post: Post) -> None:
    for _ in range(5):
        send(server)
    assert list(post.by_peer.values()) == [5]
    assert post.resets == 4  # the server forgets what was before each message


def test_messages_at_the_same_time_have_connections_of_their_own(server: MailServer, post: Post) -> None:
    with ThreadPoolExecutor(4) as threads:
        barrier = threading.Barrier(4)

        def send_together(_: int) -> None:
            with connection(server) as smtp:
                barrier.wait()
                transaction(smtp, MESSAGE, "shop@example.com", [ADA])

        list(threads.map(send_together, range(4)))
    assert list(post.by_peer.values()) == [1, 1, 1, 1]


def test_a_connection_that_the_server_has_closed_is_replaced(server: MailServer, post: Post) -> None:
    send(server)
    post.hang_up()
    for _ in range(3):
        send(server)
    assert list(post.by_peer.values()) == [1, 3]  # no message is lost, and none is sent twice


def test_a_connection_is_not_kept_after_an_error(server: MailServer, post: Post) -> None:
    with pytest.raises(Exception, match="try later"):
        send(server, "bob@example.com")
    send(server)
    assert list(post.by_peer.values()) == [1, 1]


def test_other_settings_have_other_connections(server: MailServer, post: Post) -> None:
    send(server)
    send(MailServer(**{**vars(server), "ehlo_name": "shop.example.com"}))
    assert list(post.by_peer.values()) == [1, 1]


def test_an_idle_connection_is_closed(server: MailServer, post: Post, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_smtp_pool, "IDLE_SECONDS", 0.2)
    send(server)
    wait_until(lambda: not pool._idle.get(server), what="the connection to be closed")
    send(server)
    assert list(post.by_peer.values()) == [1, 1]


def test_a_connection_serves_only_so_many_messages(
    server: MailServer, post: Post, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_smtp_pool, "MOST_MESSAGES", 2)
    for _ in range(3):
        send(server)
    assert list(post.by_peer.values()) == [2, 1]
