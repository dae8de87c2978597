"""Sessions of the console: who has signed in, in Redis. A browser holds a random token; Redis, only its hash.

A session ends after eight hours, or after one hour without a request. Its token is replaced every half hour, so a
token that leaks is soon worth nothing.
"""

import hashlib
import json
import secrets
import time
from dataclasses import dataclass
from threading import Lock

from redis import Redis
from redis.exceptions import RedisError

from taskqueue.store.keys import session_key

LONGEST_SECONDS = 8 * 3600
IDLE_SECONDS = 3600
ROTATE_SECONDS = 1800
GRACE_SECONDS = 60  # a replaced token is still good for the requests that are on their way with it
NOTED_SECONDS = 60.0  # a longer life is written to Redis once a minute, not with each request
REMEMBERED_SECONDS = 600  # how long a process lets somebody in whom it knows, while Redis is away
MAX_REMEMBERED = 1000


@dataclass(frozen=True, kw_only=True)
class Session:
    """Somebody who has signed in."""

    name: str  # of the API key, or the user of DASHBOARD_AUTH
    proof: str  # the hash of the key or password at that time: another one ends the session
    began: float  # seconds since 1970
    issued: float  # when its token was issued
    used: float  # when a request with it was noted last


class Sessions:
    """Begins, finds and ends sessions. One instance serves all threads of a process."""

    def __init__(self, connection: Redis) -> None:
        self._connection = connection
        self._remembered: dict[str, tuple[Session, float]] = {}  # by the hash of the token
        self._lock = Lock()

    def begin(self, name: str, proof: str) -> str:
        """Begin a session, and return its token. Raises the driver's errors."""
        now = time.time()
        return self._store(Session(name=name, proof=proof, began=now, issued=now, used=now))

    def find(self, token: str) -> tuple[Session | None, str]:
        """Return the session of a token, if there is one, and the token to use from now on.

        While Redis is away, a session that this process saw in the last minutes is still found; nothing is
        written. Raises the driver's errors if the session is not known.
        """
        digest, now = _digest(token), time.time()
        try:
            stored = self._connection.get(session_key(digest))
        except RedisError:
            if session := self._recall(digest, now):
                return session, token
            raise
        if stored is None:
            self._forget(digest)
            return None, token
        session = Session(**json.loads(stored))
        if now - session.began > LONGEST_SECONDS:
            self.end(token)
            return None, token
        if now - session.issued > ROTATE_SECONDS:
            token = self._replace(token, session, now)
        elif now - session.used > NOTED_SECONDS:
            self._write(digest, Session(**(vars(session) | {"used": now})))
        self._remember(_digest(token), session, now)
        return session, token

    def end(self, token: str) -> None:
        """End a session. Raises the driver's errors."""
        self._forget(_digest(token))
        self._connection.delete(session_key(_digest(token)))

    def _replace(self, token: str, session: Session, now: float) -> str:
        old = session_key(_digest(token))
        # Only one of the requests that come together gets a new token: the others go on with the old one.
        if not self._connection.set(f"{old}:replaced", 1, nx=True, ex=GRACE_SECONDS):
            return token
        new = self._store(Session(**(vars(session) | {"issued": now, "used": now})))
        self._connection.expire(old, GRACE_SECONDS)
        return new

    def _store(self, session: Session) -> str:
        token = secrets.token_urlsafe(32)
        self._write(_digest(token), session)
        return token

    def _write(self, digest: str, session: Session) -> None:
        self._connection.set(session_key(digest), json.dumps(vars(session)), ex=IDLE_SECONDS)

    def _remember(self, digest: str, session: Session, now: float) -> None:
        with self._lock:
            self._remembered.pop(digest, None)
            self._remembered[digest] = session, now
            if len(self._remembered) > MAX_REMEMBERED:
                del self._remembered[next(iter(self._remembered))]

    def _recall(self, digest: str, now: float) -> Session | None:
        with self._lock:
            session, seen = self._remembered.get(digest, (None, 0.0))
        return session if now - seen < REMEMBERED_SECONDS else None

    def _forget(self, digest: str) -> None:
        with self._lock:
            self._remembered.pop(digest, None)


def _digest(token: str) -> str:
    return hashlib.sha256(token.encode(errors="replace")).hexdigest()
