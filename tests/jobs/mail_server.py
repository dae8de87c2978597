"""A real SMTP server whose answers a test decides."""

import email
from collections.abc import Callable
from email.message import EmailMessage
from email.policy import default
from typing import Any

from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword, Session

Serve = Callable[..., int]


class Mailbox:
    """What a server got, and what it answers: `answers["bob@example.com"] = "450 later"`, or `["DATA"]`."""

    def __init__(self) -> None:
        self.envelopes: list[Envelope] = []
        self.answers: dict[str, str] = {}
        self.logins: list[LoginPassword] = []
        self.greetings: list[str] = []
        self.limit: tuple[int, str] | None = None  # recipients in one transaction, and the answer to more

    async def handle_EHLO(  # noqa: N802
        self, server: SMTP, session: Session, envelope: Envelope, hostname: str, responses: list[str]
    ) -> list[str]:
        session.host_name = hostname
        self.greetings.append(hostname)
        return [self.answers["EHLO"]] if "EHLO" in self.answers else responses

    async def handle_HELO(  # noqa: N802
        self, server: SMTP, session: Session, envelope: Envelope, hostname: str
    ) -> str:
        session.host_name = hostname
        return self.answers.get("EHLO", "250 mail.example.com")

    async def handle_MAIL(  # noqa: N802  aiosmtpd's name
        self, server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        envelope.mail_from = address
        envelope.mail_options.extend(options)
        return self.answers.get("MAIL", "250 OK")

    async def handle_RCPT(  # noqa: N802
        self, server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        if address in self.answers:
            return self.answers[address]
        if self.limit and len(envelope.rcpt_tos) >= self.limit[0]:
            return self.limit[1]
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:  # noqa: N802
        if "DATA" not in self.answers:
            self.envelopes.append(envelope)
        return self.answers.get("DATA", "250 OK")

    async def handle_QUIT(self, server: SMTP, session: Session, envelope: Envelope) -> str:  # noqa: N802
        return self.answers.get("QUIT", "221 Bye")

    def authenticate(self, server: SMTP, session: Session, envelope: Envelope, mech: str, data: Any) -> AuthResult:
        self.logins.append(data)
        return AuthResult(success=data.password == b"p@ss", handled=False)

    def content(self) -> bytes:
        """The one message that it got, as it came."""
        (envelope,) = self.envelopes
        assert isinstance(envelope.content, bytes)
        return envelope.content

    def message(self) -> EmailMessage:
        """The one message that it got."""
        return email.message_from_bytes(self.content(), policy=default)  # type: ignore[return-value]
