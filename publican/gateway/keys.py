"""Who is calling: keys to callers. Knows no HTTP; `apis` finds the key in whatever place a dialect puts it."""

from __future__ import annotations

import hmac
import secrets

from publican.core.errors import NotAllowed
from publican.core.request import Caller

_PREFIX = "pk-"


def new_key() -> str:
    """A key of 192 random bits, in letters that survive being pasted anywhere."""
    return _PREFIX + secrets.token_hex(24)


class OpenDoor:
    """No key is needed: whoever reaches this server is its owner. Any key that is sent is accepted."""

    def authenticate(self, key: str | None) -> Caller:
        return Caller("local", admin=True)


class OneKey:
    """One key for everybody. Who has it may do everything that the owner may."""

    def __init__(self, key: str) -> None:
        assert key.strip(), "an empty key would let everybody in"
        self._key = key.encode()

    def authenticate(self, key: str | None) -> Caller:
        """Raises NotAllowed unless `key` is the one. Takes as long for any wrong key (no timing to learn from)."""
        if not key:
            raise NotAllowed("This server needs a key; send it as 'Authorization: Bearer KEY'.")
        if not hmac.compare_digest(key.encode("utf-8", "replace"), self._key):
            raise NotAllowed("This key is not known here; ask the host for a new one.")
        return Caller("shared", admin=True)
