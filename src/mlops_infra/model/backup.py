"""Where backups go, who can open them, and how long they are kept."""

from __future__ import annotations

import base64
import binascii
from typing import Annotated, Self

from pydantic import AfterValidator, Field, model_validator

from mlops_infra.model.base import FileName, HostOrAddress, Noun, Port, Url, Word
from mlops_infra.model.secret import SecretSource

__all__ = ["Backup", "Place", "Recipient", "S3Place", "Schedule", "SshPlace", "is_age_recipient"]

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


def _public_key(value: str) -> str:
    words = value.split()
    try:
        blob = base64.b64decode(words[1], validate=True) if len(words) > 1 else b""
    except (binascii.Error, ValueError):
        blob = b""
    if not blob.startswith(len(words[0]).to_bytes(4) + words[0].encode()):
        raise ValueError("not a public host key (`ssh-ed25519 AAAA…`, as `ssh-keyscan` and ssh_host_*_key.pub have it)")
    return " ".join(words[:2])


def _directory(value: str) -> str:
    if not value.startswith("/") or any(c.isspace() or c in "'\"\\" for c in value):
        raise ValueError("an absolute path without spaces and quotes")
    return value.rstrip("/") or "/"


class SshPlace(Noun):
    """A directory on another host, reached by SSH as a user who may write there."""

    address: HostOrAddress
    user: Word
    port: Port = 22
    directory: Annotated[str, AfterValidator(_directory)]
    """Absolute; it is made where it is missing."""
    identity: FileName
    """A private key file, relative to cluster.yaml. Bundles hold it, and with a schedule the masters get a copy: use
    one that can do no more than this."""
    host_key: Annotated[str, AfterValidator(_public_key)]
    """That host's public key, `ssh-ed25519 AAAA…`: no other is spoken to."""


class S3Place(Noun):
    """A bucket of an S3-compatible store."""

    endpoint: Url | None = None
    """Unset: Amazon's."""
    region: Word = "us-east-1"
    bucket: Word
    prefix: str = ""
    """Put before the names of bundles, such as `platform/`."""
    access_key: SecretSource
    secret_key: SecretSource
    ca_file: FileName | None = None
    """The CA of the store's certificate, relative to cluster.yaml, where the system does not know it."""


class Place(Noun):
    """Exactly one of `ssh` or `s3`: where copies of bundles go."""

    name: Annotated[str, Field(pattern=r"^[a-z0-9]([a-z0-9-]{0,30}[a-z0-9])?$")]
    """How commands and messages call it."""
    ssh: SshPlace | None = None
    s3: S3Place | None = None

    @model_validator(mode="after")
    def _is_one_thing(self) -> Self:
        if (self.ssh is None) == (self.s3 is None):
            raise ValueError("a place for copies is one of `ssh` and `s3`")
        return self


class Schedule(Noun):
    """Backups by a timer on the masters, without the workstation: one master at a time, whichever live."""

    enabled: bool = False
    calendar: str = "*-*-* 02:00:00"
    """When, as systemd's OnCalendar writes it; a time that was missed is made up for."""
    delay: Annotated[str, Field(pattern=r"^[0-9]+(s|min|m|h)?$")] = "15min"
    """At most this much later, by chance: sites that share a store do not all come at once."""


class Backup(Noun):
    directory: str | None = None
    """Where bundles lie, relative to the file; unset: `.mlops-infra/site/backups`."""
    recipients: tuple[Recipient, ...] = ()
    """Public keys of age (`age1…`) that can open bundles besides the key that is made here at first use."""
    keep: int = Field(default=14, ge=1)
    """How many bundles stay. The newest one always does."""
    keep_days: int = Field(default=90, ge=1)
    """Bundles older than this many days go, but for the newest."""
    copies: tuple[Place, ...] = ()
    """Where each new bundle is copied to."""
    schedule: Schedule = Schedule()

    @model_validator(mode="after")
    def _places_have_names_of_their_own(self) -> Self:
        names = [place.name for place in self.copies]
        if len(set(names)) < len(names):
            raise ValueError("two places for copies have the same name")
        return self
