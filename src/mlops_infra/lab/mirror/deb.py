"""Debian packages made from files, without debhelper: an `ar` archive of two tarballs, the same bytes every time."""

from __future__ import annotations

import gzip
import hashlib
import io
import tarfile
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import IO

__all__ = ["Deb", "DebFile", "read_control"]

_AR_MAGIC = b"!<arch>\n"


@dataclass(frozen=True, slots=True)
class DebFile:
    """One file of a package: a path on this machine or its bytes. `path` is absolute on the host."""

    path: str
    source: Path | bytes
    mode: int = 0o644
    conffile: bool = False

    def size(self) -> int:
        return len(self.source) if isinstance(self.source, bytes) else self.source.stat().st_size

    def open(self) -> io.BytesIO | io.BufferedReader:
        return io.BytesIO(self.source) if isinstance(self.source, bytes) else self.source.open("rb")


@dataclass(frozen=True, slots=True)
class Deb:
    """A binary package. `relations` holds Depends, Conflicts, Provides … as their control fields."""

    name: str
    version: str
    summary: str
    files: tuple[DebFile, ...]
    relations: dict[str, str] = field(default_factory=dict)
    section: str = "net"
    scripts: dict[str, str] = field(default_factory=dict)
    """Maintainer scripts: postinst, prerm, postrm, …"""
    links: dict[str, str] = field(default_factory=dict)
    """Symbolic links: absolute path to target."""
    architecture: str = "amd64"

    @property
    def filename(self) -> str:
        return f"{self.name}_{self.version.replace(':', '%3a')}_{self.architecture}.deb"

    def control(self) -> str:
        size = sum((item.size() + 1023) // 1024 for item in self.files)
        fields = {
            "Package": self.name,
            "Version": self.version,
            "Architecture": self.architecture,
            "Maintainer": "mlops-infra mirror <root@localhost>",
            "Installed-Size": str(size),
            **self.relations,
            "Section": self.section,
            "Priority": "optional",
            "Description": self.summary,
        }
        return "".join(f"{key}: {value}\n" for key, value in fields.items() if value)

    def write(self, directory: Path) -> Path:
        """Builds the package in `directory` and returns its path."""
        target = directory / self.filename
        staged = directory / f".{self.filename}.new"
        data = directory / f".{self.filename}.data"
        try:
            md5sums = self._write_data(data)
            with staged.open("wb") as out:
                out.write(_AR_MAGIC)
                _ar_member(out, "debian-binary", io.BytesIO(b"2.0\n"), 4)
                control = self._control_tar(md5sums)
                _ar_member(out, "control.tar.gz", io.BytesIO(control), len(control))
                with data.open("rb") as file:
                    _ar_member(out, "data.tar.gz", file, data.stat().st_size)
            staged.replace(target)
        finally:
            data.unlink(missing_ok=True)
            staged.unlink(missing_ok=True)
        return target

    def _write_data(self, target: Path) -> str:
        md5sums = []
        with target.open("wb") as raw, gzip.GzipFile("", "wb", 1, raw, mtime=0) as packed, _tar(packed) as tar:
            for parent in _parents([item.path for item in self.files] + list(self.links)):
                tar.addfile(_entry(f".{parent}/".replace("//", "/"), tarfile.DIRTYPE, 0o755))
            for item in sorted(self.files, key=lambda each: each.path):
                with item.open() as file:
                    tar.addfile(_entry(f".{item.path}", tarfile.REGTYPE, item.mode, item.size()), file)
                with item.open() as file:
                    digest = hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
                md5sums.append(f"{digest}  {item.path.lstrip('/')}\n")
            for path, destination in sorted(self.links.items()):
                entry = _entry(f".{path}", tarfile.SYMTYPE, 0o777)
                entry.linkname = destination
                tar.addfile(entry)
        return "".join(md5sums)

    def _control_tar(self, md5sums: str) -> bytes:
        parts = {"control": (self.control(), 0o644), "md5sums": (md5sums, 0o644)}
        if conffiles := "".join(f"{item.path}\n" for item in self.files if item.conffile):
            parts["conffiles"] = (conffiles, 0o644)
        parts |= {name: (text, 0o755) for name, text in self.scripts.items()}
        buffer = io.BytesIO()
        with gzip.GzipFile("", "wb", 6, buffer, mtime=0) as packed, _tar(packed) as tar:
            for name, (text, mode) in parts.items():
                content = text.encode()
                tar.addfile(_entry(f"./{name}", tarfile.REGTYPE, mode, len(content)), io.BytesIO(content))
        return buffer.getvalue()


def _tar(out: gzip.GzipFile) -> tarfile.TarFile:
    return tarfile.open(fileobj=out, mode="w", format=tarfile.GNU_FORMAT)


def _entry(name: str, kind: bytes, mode: int, size: int = 0) -> tarfile.TarInfo:
    entry = tarfile.TarInfo(name)
    entry.type, entry.mode, entry.size = kind, mode, size
    entry.uname = entry.gname = "root"
    return entry


def _parents(paths: list[str]) -> list[str]:
    """Every directory above the paths, the root first."""
    found = {str(parent) for path in paths for parent in PurePosixPath(path).parents}
    return sorted(found)


def _ar_member(out: IO[bytes], name: str, content: IO[bytes], size: int) -> None:
    out.write(f"{name:<16}{0:<12}{0:<6}{0:<6}{'100644':<8}{size:<10}`\n".encode())
    while block := content.read(1 << 20):
        out.write(block)
    if size % 2:
        out.write(b"\n")


def read_control(deb: Path) -> str:
    """The control paragraph of a package. Debian's own compress it with xz or zstd; the latter is left to dpkg-deb."""
    with deb.open("rb") as file:
        if file.read(8) != _AR_MAGIC:
            raise ValueError(f"{deb.name} is not a Debian package")
        while len(header := file.read(60)) == 60:
            name, size = header[:16].decode().strip().rstrip("/"), int(header[48:58])
            if name.startswith("control.tar"):
                return _control_in(deb, name, file.read(size))
            file.seek(size + size % 2, io.SEEK_CUR)
    raise ValueError(f"{deb.name} has no control member")


def _control_in(deb: Path, name: str, content: bytes) -> str:
    if name.endswith(".zst"):
        from mlops_infra.lab.mirror.programs import run  # noqa: PLC0415  (only for packages of other archives)

        return run(["dpkg-deb", "-f", deb], what=f"read {deb.name}").decode()
    with tarfile.open(fileobj=io.BytesIO(content), mode="r:*") as tar:
        for member in tar:
            if member.name.lstrip("./") == "control" and (file := tar.extractfile(member)):
                return file.read().decode()
    raise ValueError(f"{deb.name} has no control file")
