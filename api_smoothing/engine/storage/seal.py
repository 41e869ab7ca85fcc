"""The seal of a kept answer: a keyed digest, by which one that was edited is noticed.

It is HMAC-SHA-256 (RFC 2104) under a secret beside the answers, cut to 64 bits, over the place of the answer and its
text. Whoever can read the secret can forge it: that is this user alone.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Final

from api_smoothing.secret import kept_secret

#: Hexadecimal digits of a seal.
DIGITS: Final = 16
#: The secret's file in the folder of the answers, which it goes with wherever that is copied.
KEY_FILE: Final = "seal-key"
_BLOCK: Final = 64  # bytes, of SHA-256


class Seal:
    """Makes seals with the secret `key` of 16 bytes."""

    def __init__(self, key: bytes) -> None:
        key = key.ljust(_BLOCK, b"\0")
        self._inner = hashlib.sha256(bytes(byte ^ 0x36 for byte in key))
        self._outer = hashlib.sha256(bytes(byte ^ 0x5C for byte in key))

    def of(self, text: str) -> str:
        """The seal of `text`. Both halves of the key are hashed once, and not for each answer as by `hmac`."""
        inner, outer = self._inner.copy(), self._outer.copy()
        inner.update(text.encode())
        outer.update(inner.digest())
        return outer.hexdigest()[:DIGITS]


def folder_seal(folder: Path) -> Seal:
    """The seal of the answers in `folder`, whose secret is made on first use."""
    return Seal(kept_secret(folder / KEY_FILE, "key of the seals"))
