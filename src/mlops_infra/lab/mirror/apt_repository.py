"""A flat apt repository: packages in one directory, indices signed with the mirror's own key."""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import os
import re
import tempfile
import time
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from email.utils import formatdate
from pathlib import Path

from mlops_infra.lab.mirror.cache import place, sha256_file
from mlops_infra.lab.mirror.deb import read_control
from mlops_infra.lab.mirror.programs import run
from mlops_infra.lab.mirror.progress import MirrorError

__all__ = ["FlatRepository", "SigningKey", "packages_index"]


@dataclass(frozen=True, slots=True)
class SigningKey:
    """A key made for this mirror alone, in a GNUPGHOME of its own."""

    home: Path

    def _gpg(self, *arguments: str, stdin: bytes = b"", what: str) -> bytes:
        with self._short_home() as home:
            return run(
                ["gpg", "--homedir", home, "--batch", "--no-tty", "--quiet", *arguments],
                stdin=stdin,
                what=what,
                deadline=120,
            )

    @contextlib.contextmanager
    def _short_home(self) -> Iterator[Path]:
        """The home under a short name: the agent's sockets lie in it, and their paths have 107 characters at most.

        The agent that gpg starts knows the home by this name alone, and ends with it.
        """
        with tempfile.TemporaryDirectory(prefix="gpg-") as directory:
            link = Path(directory) / "h"
            link.symlink_to(self.home)
            try:
                yield link
            finally:
                run(["gpgconf", "--homedir", link, "--kill", "gpg-agent"], what="end the signing agent", deadline=30)

    def ensure(self) -> str:
        """The key's fingerprint; the key is made when there is none."""
        self.home.mkdir(parents=True, exist_ok=True)
        self.home.chmod(0o700)
        if not (fingerprint := self._fingerprint()):
            self._gpg(
                "--pinentry-mode", "loopback", "--passphrase", "", "--quick-generate-key",
                "mlops-infra mirror <root@localhost>", "ed25519", "sign", "never",
                what="make the mirror's signing key",
            )  # fmt: skip
            fingerprint = self._fingerprint()
        return fingerprint

    def _fingerprint(self) -> str:
        listing = self._gpg("--with-colons", "--list-secret-keys", what="list the mirror's keys").decode()
        match = re.search(r"^fpr:+([0-9A-F]{40}):", listing, re.M)
        return match[1] if match else ""

    def armoured(self) -> bytes:
        return self._gpg("--armor", "--export", what="export the mirror's key")

    def clearsign(self, text: bytes) -> bytes:
        return self._gpg(
            "--pinentry-mode", "loopback", "--passphrase", "", "--clearsign", stdin=text, what="sign a Release file"
        )

    def detach(self, text: bytes) -> bytes:
        return self._gpg(
            "--pinentry-mode",
            "loopback",
            "--passphrase",
            "",
            "--armor",
            "--detach-sign",
            stdin=text,
            what="sign a Release file",
        )


def packages_index(directory: Path, digests: dict[str, str] | None = None) -> str:
    """The Packages file of a flat repository. `digests` are known sha256 sums by file name, to save hashing."""
    paragraphs = []
    for deb in sorted(directory.glob("*.deb")):
        digest = (digests or {}).get(deb.name) or sha256_file(deb)
        control = read_control(deb).strip()
        extra = f"Filename: ./{deb.name}\nSize: {deb.stat().st_size}\nSHA256: {digest}"
        head, marker, description = control.partition("\nDescription:")
        paragraphs.append(f"{head}\n{extra}{marker}{description}\n")
    return "\n".join(paragraphs)


@dataclass(frozen=True, slots=True)
class FlatRepository:
    """`directory` is served as `deb URL ./`."""

    directory: Path
    codename: str

    def fill(self, debs: list[Path], keep: Collection[str] = ()) -> None:
        """Makes the directory hold exactly these packages, and of those named in `keep` any other version there is."""
        self.directory.mkdir(parents=True, exist_ok=True)
        wanted = {deb.name: deb for deb in debs}
        for present in self.directory.glob("*.deb"):
            if present.name not in wanted and present.name.partition("_")[0] not in keep:
                present.unlink()
        for name, deb in wanted.items():
            target = self.directory / name
            if not (target.exists() and _same(target, deb)):
                place(deb, target)

    def sign(self, key: SigningKey) -> None:
        """Writes the indices and signs them. They are replaced one after the other, InRelease last, so that apt either
        sees the old set or notices a mismatch and asks again."""
        index = packages_index(self.directory).encode()
        packed = gzip.compress(index, 6, mtime=0)
        stamp = self.directory / ".index-sha256"
        digest = hashlib.sha256(index).hexdigest()
        if stamp.exists() and stamp.read_text() == digest and (self.directory / "InRelease").exists():
            return
        parts = {"Packages": index, "Packages.gz": packed}
        release = self._release(parts).encode()
        parts |= {"Release": release, "Release.gpg": key.detach(release), "InRelease": key.clearsign(release)}
        for name, content in parts.items():
            _write(self.directory / name, content)
        _write(stamp, digest.encode())

    def _release(self, parts: dict[str, bytes]) -> str:
        now = time.time()
        lines = [
            "Origin: mlops-infra",
            "Label: mlops-infra mirror",
            f"Suite: {self.codename}",
            f"Codename: {self.codename}",
            f"Date: {formatdate(now, usegmt=True)}",
            "Architectures: amd64 all",
            "Description: packages of a platform, for sites without the public repositories",
            "SHA256:",
        ]
        lines += [
            f" {hashlib.sha256(content).hexdigest()} {len(content):>16} {name}" for name, content in parts.items()
        ]
        return "\n".join(lines) + "\n"

    def packages(self) -> tuple[str, ...]:
        """The file names of what is there, sorted."""
        return tuple(sorted(deb.name for deb in self.directory.glob("*.deb")))

    def has(self, *names: str) -> bool:
        """Whether a package of each name is there and the repository is signed."""
        if not (self.directory / "InRelease").exists():
            return False
        return all(any(self.directory.glob(f"{name}_*.deb")) for name in names)


def _same(one: Path, other: Path) -> bool:
    if one.samefile(other):
        return True
    return one.stat().st_size == other.stat().st_size and sha256_file(one) == sha256_file(other)


def _write(path: Path, content: bytes) -> None:
    staged = path.with_name(f".{path.name}.new")
    staged.write_bytes(content)
    os.replace(staged, path)  # noqa: PTH105


def check_repository(directory: Path) -> None:
    """Raises MirrorError when a package that the index names is not there with its size."""
    index = (directory / "Packages").read_text()
    for name, size in re.findall(r"^Filename: \./(.+)\nSize: (\d+)$", index, re.M):
        path = directory / name
        if not path.exists() or path.stat().st_size != int(size):
            raise MirrorError(f"{path} is missing or cut short", remedy="mlops-infra mirror build")
