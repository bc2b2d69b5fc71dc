"""Fingerprints of OpenPGP keys, without gpg: a key is compared with the pinned one before it reaches a host."""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from collections.abc import Iterator

from mlops_infra.errors import InfraError

__all__ = ["check_key", "fingerprints"]

_BLOCK = re.compile(
    r"-----BEGIN PGP PUBLIC KEY BLOCK-----\r?\n(?:[^\r\n]+: [^\r\n]*\r?\n)*\r?\n"
    r"(.*?)-----END PGP PUBLIC KEY BLOCK-----",
    re.DOTALL,
)
_PUBLIC_KEY = 6


def fingerprints(armoured: bytes) -> tuple[str, ...]:
    """Upper-case hex fingerprints of the primary keys (version 4, RFC 4880 section 12.2) in these armoured blocks.

    Raises ValueError when there is no readable block.
    """
    found = []
    for block in _BLOCK.finditer(armoured.decode("ascii", "replace")):
        lines = [line for line in block.group(1).split() if not line.startswith("=")]
        try:
            packets = list(_packets(base64.b64decode("".join(lines), validate=True)))
        except (binascii.Error, IndexError) as error:
            raise ValueError("the armour of the key is damaged") from error
        for tag, body in packets:
            if tag == _PUBLIC_KEY and body[:1] == b"\x04":
                # SHA-1 is how version 4 keys are named, not how they are protected.
                named = hashlib.sha1(b"\x99" + len(body).to_bytes(2, "big") + body, usedforsecurity=False)
                found.append(named.hexdigest().upper())
    if not found:
        raise ValueError("no OpenPGP public key in ASCII armour")
    return tuple(found)


def check_key(armoured: bytes, fingerprint: str | None, source: str) -> bytes:
    """The key itself, when every primary key in it is the pinned one. Raises InfraError otherwise.

    Without a pin only the form is checked.
    """
    try:
        found = fingerprints(armoured)
    except ValueError as error:
        raise InfraError(
            f"{source} is no apt signing key",
            details=str(error),
            cause="a proxy's error page, or a binary key where an ASCII-armoured one is wanted",
            remedy="gpg --show-keys FILE says what a file holds; gpg --enarmor turns a binary key into text",
        ) from error
    wanted = fingerprint.replace(" ", "").upper() if fingerprint else None
    if wanted and set(found) != {wanted}:
        raise InfraError(
            f"The signing key from {source} is not the one that is pinned",
            details=f"pinned {wanted}, found {', '.join(found)}",
            cause="the repository changed its key, or somebody stands between you and it",
            remedy="compare the fingerprint with the project's documentation before you trust the new key",
        )
    return armoured


def _packets(data: bytes) -> Iterator[tuple[int, bytes]]:
    at = 0
    while at < len(data):
        head = data[at]
        if not head & 0x80:
            raise IndexError("not a packet")
        if head & 0x40:
            tag, (length, at) = head & 0x3F, _new_length(data, at + 1)
        else:
            tag, size = (head >> 2) & 0x0F, (1, 2, 4, 0)[head & 3]
            if not size:
                raise IndexError("a packet of indefinite length")
            length, at = int.from_bytes(data[at + 1 : at + 1 + size], "big"), at + 1 + size
        if at + length > len(data):
            raise IndexError("a packet that is cut off")
        yield tag, data[at : at + length]
        at += length


def _new_length(data: bytes, at: int) -> tuple[int, int]:
    first = data[at]
    if first < 192:
        return first, at + 1
    if first < 224:
        return ((first - 192) << 8) + data[at + 1] + 192, at + 2
    if first == 255:
        return int.from_bytes(data[at + 1 : at + 5], "big"), at + 5
    raise IndexError("a partial packet")
