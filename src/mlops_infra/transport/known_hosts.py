"""The pinned host keys of one platform: `.mlops-infra/site/known_hosts`, unhashed, in OpenSSH's format.

A lookup in a hashed file costs 26 ms at 2000 lines (engine.md A3), so that ours is never hashed and parsed once.
"""

from __future__ import annotations

import binascii
import os
from base64 import b64decode, b64encode
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from mlops_infra.errors import ConfigError

__all__ = ["HostKey", "read_known_hosts", "same_fingerprint", "write_known_hosts"]


@dataclass(frozen=True, slots=True)
class HostKey:
    """A public host key: its type as in known_hosts (`ssh-ed25519`) and its blob in base64."""

    kind: str
    blob: str

    @property
    def fingerprint(self) -> str:
        """`SHA256:…`, as `ssh-keygen -lf` prints it."""
        return "SHA256:" + b64encode(sha256(b64decode(self.blob)).digest()).decode().rstrip("=")


def same_fingerprint(one: str, other: str) -> bool:
    """Whether two fingerprints are equal; base64 padding and the `SHA256:` in front may be missing."""
    return one.removeprefix("SHA256:").rstrip("=") == other.removeprefix("SHA256:").rstrip("=")


def read_known_hosts(path: Path) -> dict[str, tuple[HostKey, ...]]:
    """Keys by host name as written (`10.0.0.1`, `[10.0.0.1]:2222`); empty when there is no file.

    Hashed names and lines with markers (`@revoked`) are not ours and not read. Raises ConfigError with file and line.
    """
    try:
        text = path.read_text()
    except FileNotFoundError:
        return {}
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} cannot be read", details=str(error)) from error
    found: dict[str, tuple[HostKey, ...]] = {}
    for number, line in enumerate(text.splitlines(), 1):
        words = line.split()
        if not words or words[0].startswith(("#", "@", "|")):
            continue
        if len(words) < 3 or not _is_key(words[1], words[2]):
            raise ConfigError(
                f"{path}:{number}: this is no host key",
                details=line[:100],
                remedy="Remove the line, then: mlops-infra hosts trust",
            )
        for name in words[0].split(","):
            found[name] = (*found.get(name, ()), HostKey(words[1], words[2]))
    return found


def _is_key(kind: str, blob: str) -> bool:
    try:
        raw = b64decode(blob, validate=True)
    except (binascii.Error, ValueError):
        return False
    return raw[4 : 4 + len(kind)] == kind.encode()


def write_known_hosts(path: Path, keys: Mapping[str, Iterable[HostKey]]) -> None:
    """Replace the file by these keys: 0600, whole or not at all. Its directory is made 0700."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    lines = [f"{name} {key.kind} {key.blob}\n" for name, found in keys.items() for key in found]
    staged = path.with_name(f".{path.name}.{os.getpid()}")
    descriptor = os.open(staged, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    try:
        with os.fdopen(descriptor, "w") as file:
            file.write("# Host keys of this platform, pinned by `mlops-infra hosts trust`.\n")
            file.writelines(lines)
            file.flush()
            os.fsync(file.fileno())
        staged.replace(path)
    finally:
        staged.unlink(missing_ok=True)
