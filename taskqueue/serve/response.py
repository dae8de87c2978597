"""gunicorn's answer to a request, whose head and first bytes leave in one packet."""

from gunicorn.http import wsgi

JOINED_BYTES = 64 * 1024  # a longer first piece is not copied behind the head


class Response(wsgi.Response):  # type: ignore[misc]  # gunicorn has no types
    """An answer. A second send would cost the system, and wake the client, a second time."""

    _head = b""
    headers_sent: bool

    def write(self, arg: bytes) -> None:
        """Send a piece of the body, behind the head if that was not sent yet."""
        if not self.headers_sent:
            lines = [*self.default_headers(), *[f"{name}: {value}\r\n" for name, value in self.headers], "\r\n"]
            self._head = "".join(lines).encode("latin-1")
            self.headers_sent = True
        super().write(arg)
        self._send_head()  # if there was nothing to send behind it

    def _emit_body(self, data: bytes) -> None:
        if self.chunked:
            data = b"%X\r\n%b\r\n" % (len(data), data)
        if self._head and len(data) <= JOINED_BYTES:
            data, self._head = self._head + data, b""
        self._send_head()
        self.sock.sendall(data)

    def _send_head(self) -> None:
        head, self._head = self._head, b""
        if head:
            self.sock.sendall(head)
