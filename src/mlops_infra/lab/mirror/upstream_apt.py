"""Packages from a signed apt repository: the signature vouches for the index, the index for each package."""

from __future__ import annotations

import gzip
import hashlib
import re
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from mlops_infra.lab.mirror.homes import Homes
from mlops_infra.lab.mirror.programs import run
from mlops_infra.lab.mirror.progress import MirrorError

__all__ = ["IndexedPackage", "SignedRepository", "parse_index", "pick", "version_key"]


@dataclass(frozen=True, slots=True)
class IndexedPackage:
    """One paragraph of a Packages file. `filename` is relative to the repository's root."""

    name: str
    version: str
    architecture: str
    filename: str
    sha256: str


def parse_index(text: str) -> Iterator[IndexedPackage]:
    """The packages of an index that carry a SHA256; an entry without one is not usable."""
    for paragraph in re.split(r"\n\s*\n", text):
        fields = dict(re.findall(r"^([A-Za-z0-9-]+):[ \t]*(.*)$", paragraph, re.M))
        if {"Package", "Version", "Filename", "SHA256"} <= fields.keys():
            yield IndexedPackage(
                fields["Package"], fields["Version"], fields.get("Architecture", ""), fields["Filename"].strip(),
                fields["SHA256"].strip().lower(),
            )  # fmt: skip


def version_key(version: str) -> tuple[tuple[int, int | str], ...]:
    """Orders versions made of numbers, dots and dashes; enough for these repositories, not Debian's whole rule."""
    return tuple((1, int(part)) if part.isdigit() else (0, part) for part in re.findall(r"\d+|[^\d.\-]+", version))


def pick(packages: Iterable[IndexedPackage], name: str, version: str = "") -> IndexedPackage:
    """The newest revision of that version (`1.31.4` fits `1.31.4-1.1`), or the newest of all without one."""
    offered = [one for one in packages if one.name == name and one.architecture in ("amd64", "all")]
    fitting = [one for one in offered if not version or one.version.split(":")[-1].startswith(f"{version}-")]
    if not fitting:
        known = ", ".join(sorted({one.version for one in offered}, key=version_key)[-6:]) or "none"
        raise MirrorError(f"the repository has no {name} {version}", details=f"there: {known}")
    return max(fitting, key=lambda one: version_key(one.version))


@dataclass(frozen=True, slots=True)
class SignedRepository:
    """A public repository. `root` is what file names are relative to; `release` the directory of InRelease below it;
    `index` the Packages file relative to `release`. `fingerprint` is the pinned one of its signing key.
    """

    root: str
    key: str
    fingerprint: str
    release: str = ""
    index: str = "Packages"

    def packages(self, homes: Homes) -> tuple[IndexedPackage, ...]:
        """What the repository offers. Raises MirrorError unless the pinned key signed it."""
        base = f"{self.root}/{self.release}".rstrip("/")
        signed = verified_text(homes.document(f"{base}/InRelease"), homes.document(self.key), self.fingerprint, base)
        sums = dict(_sums(signed))
        for suffix in (".gz", ""):
            name = self.index + suffix
            if name not in sums:
                continue
            content = homes.document(f"{base}/{name}")
            if hashlib.sha256(content).hexdigest() != sums[name]:
                raise MirrorError(f"{base}/{name} is not the one that InRelease names", remedy="run again in a minute")
            text = gzip.decompress(content) if suffix else content
            return tuple(parse_index(text.decode()))
        raise MirrorError(f"{base}/InRelease names no {self.index}")

    def fetch(self, package: IndexedPackage, homes: Homes, downloads: Path) -> Path:
        """The package's file, named as apt names it, below `downloads` by its digest."""
        target = downloads / package.sha256 / f"{package.name}_{package.version.replace(':', '%3a')}_amd64.deb"
        homes.download(f"{self.root}/{package.filename.removeprefix('./')}", package.sha256, target)
        return target


def _sums(release: str) -> Iterator[tuple[str, str]]:
    section = re.search(r"^SHA256:[ \t]*\n((?:[ \t]+.*\n?)+)", release, re.M)
    for line in section[1].splitlines() if section else ():
        digest, _, name = line.split()
        yield name.removeprefix("./"), digest


def verified_text(signed: bytes, key: bytes, fingerprint: str, what: str) -> str:
    """The text of a clear-signed document, if the key of that fingerprint signed it."""
    with tempfile.TemporaryDirectory(prefix="mlops-infra-gpg-") as home:
        gpg = ["gpg", "--homedir", home, "--batch", "--no-tty", "--quiet", "--no-autostart"]
        run([*gpg, "--import"], stdin=key, what=f"read the signing key of {what}")
        out = Path(home) / "text"
        status = run(
            [*gpg, "--trust-model", "always", "--status-fd", "1", "--output", out, "--decrypt"],
            stdin=signed, what=f"verify the signature of {what}/InRelease",
        ).decode()  # fmt: skip
        primary = {words[-1] for words in (line.split() for line in status.splitlines()) if "VALIDSIG" in words}
        if fingerprint not in primary:
            raise MirrorError(
                f"{what} is not signed by the pinned key",
                details=f"pinned {fingerprint}\nfound  {', '.join(sorted(primary)) or 'no valid signature'}",
                cause="the project changed its key, or this is not the project's repository",
                remedy="compare with the fingerprint in the project's documentation before you go on",
            )
        return out.read_text()
