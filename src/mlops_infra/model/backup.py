"""Where backups go, who can open them, and how long they are kept."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, Field

from mlops_infra.model.base import Noun

__all__ = ["Backup", "Recipient", "is_age_recipient"]

_CHARSET = "qpzry9x8gf2tvdw0s3jn54khce6mua7l"
_GENERATOR = (0x3B6A57B2, 0x26508E6D, 0x1EA119FA, 0x3D4233DD, 0x2A1462B3)


def is_age_recipient(text: str) -> bool:
    """Whether this is a whole X25519 recipient of age, `age1…`: Bech32 (BIP 173) has a checksum, so typos show."""
    if not text.startswith("age1") or len(text) != 62 or any(c not in _CHARSET for c in text[4:]):
        return False
    prefix = [ord(c) >> 5 for c in "age"] + [0] + [ord(c) & 31 for c in "age"]
    check = 1
    for value in [*prefix, *(_CHARSET.index(c) for c in text[4:])]:
        top = check >> 25
        check = (check & 0x1FFFFFF) << 5 ^ value
        for bit, word in enumerate(_GENERATOR):
            check ^= word if top >> bit & 1 else 0
    return check == 1


def _recipient(value: str) -> str:
    if value.upper().startswith("AGE-SECRET-KEY-"):
        raise ValueError("this is a private key: only public keys (age1…) belong here, and it is no secret any more")
    if not is_age_recipient(value):
        raise ValueError(f"`{value}` is not a public key of age (age1… with 62 characters), or it has a typing error")
    return value


Recipient = Annotated[str, AfterValidator(_recipient)]


class Backup(Noun):
    directory: str | None = None
    """Where bundles lie, relative to the file; unset: `.mlops-infra/site/backups`."""
    recipients: tuple[Recipient, ...] = ()
    """Public keys of age (`age1…`) that can open bundles besides the key that is made here at first use."""
    keep: int = Field(default=14, ge=1)
    """How many bundles stay. The newest one always does."""
    keep_days: int = Field(default=90, ge=1)
    """Bundles older than this many days go, but for the newest."""
