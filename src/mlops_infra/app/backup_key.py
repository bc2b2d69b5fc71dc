"""Who can open backups: the site's own key pair, made at first use, and the recipients that cluster.yaml names."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mlops_infra.core import Secret
from mlops_infra.errors import ConfigError, InfraError
from mlops_infra.model.cluster import Cluster
from mlops_infra.model.site import Site

__all__ = ["KeyState", "ensure_key", "export_key", "identities", "key_path", "key_state", "recipients"]


@dataclass(frozen=True, slots=True)
class KeyState:
    """`public` is None where no key was made yet. `is_safe`: somebody else can open bundles too, or the key was
    exported, so that losing this machine does not lose the backups."""

    path: Path
    public: str | None
    exported: str | None
    """When, in UTC; None: never."""
    others: tuple[str, ...]

    @property
    def is_safe(self) -> bool:
        return self.exported is not None or bool(self.others)


def key_path(site: Site) -> Path:
    """`.mlops-infra/site/backup-key.txt`, in the form of age-keygen."""
    return site.directory / "backup-key.txt"


def _mark(site: Site) -> Path:
    return site.directory / "backup-key.exported"


def key_state(cluster: Cluster, site: Site) -> KeyState:
    """What is known of the keys, for reports and for doctor; makes nothing."""
    path = key_path(site)
    public = None
    if path.is_file():
        lines = path.read_text("utf-8", "replace").splitlines()
        public = next((ln.partition("public key:")[2].strip() for ln in lines if "public key:" in ln), "")
    exported = _mark(site).read_text().strip() if _mark(site).is_file() else None
    others = tuple(r for r in cluster.backup.recipients if r != public)
    return KeyState(path, public, exported, others)


def ensure_key(site: Site) -> bool:
    """Makes the key pair when there is none; True when it was made just now."""
    from pyrage import x25519  # noqa: PLC0415 - a shared library that few commands need

    path = key_path(site)
    if path.exists():
        return False
    site.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    identity = x25519.Identity.generate()
    text = f"# created: {_now()}\n# public key: {identity.to_public()}\n{identity}\n"
    staged = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        _write_new(staged, text)
        try:
            os.link(staged, path)
        except FileExistsError:
            return False
    finally:
        staged.unlink(missing_ok=True)
    return True


def identities(paths: Iterable[Path]) -> list[Any]:
    """The private keys in files of age-keygen's form. Raises ConfigError when one cannot be read or holds none."""
    from pyrage import IdentityError, x25519  # noqa: PLC0415

    found: list[Any] = []
    for path in paths:
        try:
            lines = path.read_text("utf-8").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else "it is not text"
            raise ConfigError(
                f"the key {path} cannot be read: {reason}",
                cause="Bundles are opened with the private key that was made at the first backup, or with another "
                "recipient's.",
                remedy="Name the file with --key FILE: the copy that `backup key export` made.",
            ) from error
        keys = [line.strip() for line in lines if line.strip() and not line.startswith("#")]
        try:
            found += [x25519.Identity.from_str(key) for key in keys]
        except IdentityError as error:
            raise ConfigError(
                f"{path} holds no private key of age",
                cause="A line AGE-SECRET-KEY-1… was expected; it may be cut or changed.",
                remedy="Use the copy of the key that is kept elsewhere.",
            ) from error
        if not keys:
            raise ConfigError(f"{path} holds no private key of age", remedy="Use the copy that is kept elsewhere.")
    return found


def recipients(cluster: Cluster, site: Site) -> list[Any]:
    """Whom a new bundle is encrypted for: the site's own key, and those of cluster.yaml."""
    from pyrage import x25519  # noqa: PLC0415

    own = [identity.to_public() for identity in identities([key_path(site)])]
    return own + [x25519.Recipient.from_str(r) for r in cluster.backup.recipients if r not in {str(o) for o in own}]


def export_key(site: Site, to: Path | None) -> Secret:
    """The private key's file; written to `to` (0600, never over another file). Notes that it was seen.

    Raises InfraError when there is none yet or `to` cannot be written.
    """
    path = key_path(site)
    if not path.exists():
        raise InfraError(
            "There is no backup key yet", cause="It is made by the first backup.", remedy="mlops-infra backup etcd"
        )
    identities([path])
    text = path.read_text("utf-8")
    if to is not None:
        try:
            _write_new(to, text)
        except OSError as error:
            raise InfraError(
                f"the key could not be written to {to}: {error.strerror}",
                remedy="Name a file that does not exist yet, on a medium that is kept elsewhere.",
            ) from error
    _mark(site).write_text(_now() + "\n")
    return Secret(text)


def _write_new(path: Path, text: str) -> None:
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as out:
        out.write(text)
        out.flush()
        os.fsync(out.fileno())


def _now() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
