"""Container images made of files, written straight into the layout that docker-registry serves from.

The layout is the registry's own storage format (`docker/registry/v2`): blobs by digest, and per repository a link for
each layer, manifest and tag. Writing it needs no running registry and no second copy of a layer.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import tarfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from mlops_infra.lab.mirror.cache import Cache, place, sha256_file

__all__ = [
    "Image",
    "Layer",
    "LayerFile",
    "Reference",
    "RegistryStore",
    "layer_of_files",
    "layer_of_tar",
    "split_reference",
]

MANIFEST_TYPE = "application/vnd.oci.image.manifest.v1+json"
CONFIG_TYPE = "application/vnd.oci.image.config.v1+json"
LAYER_TYPE = "application/vnd.oci.image.layer.v1.tar+gzip"
PATH = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


@dataclass(frozen=True, slots=True)
class LayerFile:
    """A file of a layer: where from, and its absolute path in the image."""

    source: Path
    path: str
    mode: int = 0o755
    link: str = ""
    """A symbolic link to this instead of a file."""


@dataclass(frozen=True, slots=True)
class Layer:
    """A gzip-packed tarball on disk: `digest` of the packed bytes, `diff_id` of the plain ones, both with `sha256:`."""

    blob: Path
    digest: str
    diff_id: str
    size: int


@dataclass(frozen=True, slots=True)
class Image:
    reference: str
    layers: tuple[Layer, ...]
    entrypoint: tuple[str, ...] = ()
    user: str = ""

    def config(self) -> bytes:
        settings: dict[str, Any] = {"Env": [PATH]}
        if self.entrypoint:
            settings["Entrypoint"] = list(self.entrypoint)
        if self.user:
            settings["User"] = self.user
        document = {
            "architecture": "amd64",
            "os": "linux",
            "created": "1970-01-01T00:00:00Z",
            "config": settings,
            "rootfs": {"type": "layers", "diff_ids": [layer.diff_id for layer in self.layers]},
        }
        return json.dumps(document, sort_keys=True).encode()

    def manifest(self) -> bytes:
        config = self.config()
        document = {
            "schemaVersion": 2,
            "mediaType": MANIFEST_TYPE,
            "config": {"mediaType": CONFIG_TYPE, "digest": _digest(config), "size": len(config)},
            "layers": [{"mediaType": LAYER_TYPE, "digest": one.digest, "size": one.size} for one in self.layers],
        }
        return json.dumps(document, sort_keys=True).encode()


@dataclass(frozen=True, slots=True)
class Reference:
    registry: str
    name: str
    tag: str

    @property
    def repository(self) -> str:
        """The repository on the mirror: the upstream registry is the first part of its path."""
        return f"{self.registry}/{self.name}"


def split_reference(text: str) -> Reference:
    """`registry.k8s.io/coredns/coredns:v1.11.3` in its parts. Short names are refused: a mirror names its source."""
    path, _, tag = text.rpartition(":")
    registry, _, name = path.partition("/")
    if not name or "." not in registry or "/" in tag:
        raise ValueError(f"{text!r} is not registry/name:tag")
    return Reference(registry, name, tag)


def _digest(content: bytes) -> str:
    return "sha256:" + hashlib.sha256(content).hexdigest()


class _Hashing(io.RawIOBase):
    """A sink that passes bytes on and keeps their digest."""

    def __init__(self, target: IO[bytes] | gzip.GzipFile) -> None:
        self._target = target
        self.sha = hashlib.sha256()

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        block = bytes(data)
        self.sha.update(block)
        self._target.write(block)
        return len(block)


def layer_of_files(files: Iterable[LayerFile], cache: Cache, name: str) -> Layer:
    """A layer of single files, owned by root, dated 1970: the same files make the same digest."""
    wanted = sorted(files, key=lambda each: each.path)
    described = [[one.path, one.mode, one.link or sha256_file(one.source)] for one in wanted]

    def fill(tar: tarfile.TarFile) -> None:
        for parent in sorted({str(parent) for one in wanted for parent in Path(one.path).parents} - {"/"}):
            entry = tarfile.TarInfo(parent.lstrip("/") + "/")
            entry.type, entry.mode = tarfile.DIRTYPE, 0o755
            tar.addfile(entry)
        for one in wanted:
            entry = tarfile.TarInfo(one.path.lstrip("/"))
            entry.mode = one.mode
            if one.link:
                entry.type, entry.linkname = tarfile.SYMTYPE, one.link
                tar.addfile(entry)
                continue
            entry.size = one.source.stat().st_size
            with one.source.open("rb") as file:
                tar.addfile(entry, file)

    def write(plain: _Hashing) -> None:
        with tarfile.open(fileobj=plain, mode="w|", format=tarfile.GNU_FORMAT) as tar:
            fill(tar)

    return _layer(cache, name, {"kind": "layer", "files": described}, write)


def layer_of_tar(tar: Path, cache: Cache, name: str) -> Layer:
    """A layer of a finished tarball, whatever its attributes (made with --xattrs where capabilities matter)."""

    def write(plain: _Hashing) -> None:
        with tar.open("rb") as file:
            while block := file.read(1 << 20):
                plain.write(block)

    return _layer(cache, name, {"kind": "layer", "tar": sha256_file(tar)}, write)


def _layer(cache: Cache, name: str, recipe: dict[str, Any], write: Any) -> Layer:
    def make(into: Path) -> None:
        with (into / "blob").open("wb") as raw:
            packed = _Hashing(raw)
            # Level 1: layers cross a bridge in memory, and time on the processor is what is short.
            with gzip.GzipFile("", "wb", 1, packed, mtime=0) as zipped:
                plain = _Hashing(zipped)
                write(plain)
        made = {"digest": packed.sha.hexdigest(), "diff_id": plain.sha.hexdigest()}
        (into / "layer.json").write_text(json.dumps(made))

    home = cache.product(f"layer-{name}", recipe, make)
    made = json.loads((home / "layer.json").read_text())
    blob = home / "blob"
    return Layer(blob, f"sha256:{made['digest']}", f"sha256:{made['diff_id']}", blob.stat().st_size)


@dataclass(frozen=True, slots=True)
class RegistryStore:
    """The storage directory of a docker-registry."""

    root: Path

    @property
    def _base(self) -> Path:
        return self.root / "docker" / "registry" / "v2"

    def has(self, reference: str) -> bool:
        return self._tag(split_reference(reference)).joinpath("current", "link").exists()

    def put(self, image: Image) -> str:
        """Stores an image under its upstream name and returns the digest of its manifest."""
        where = split_reference(image.reference)
        for layer in image.layers:
            self.put_blob(where.repository, layer.digest, layer.blob)
        config = image.config()
        self.put_bytes(where.repository, config)
        return self.put_manifest(where, image.manifest())

    def put_blob(self, repository: str, digest: str, file: Path) -> None:
        target = self._blob(digest)
        if not target.exists():
            place(file, target)
        self._link(repository, "_layers", digest)

    def put_bytes(self, repository: str, content: bytes) -> str:
        digest = self._store(content)
        self._link(repository, "_layers", digest)
        return digest

    def put_revision(self, repository: str, manifest: bytes) -> str:
        """A manifest without a tag: one of those that an index names."""
        digest = self._store(manifest)
        self._link(repository, "_manifests/revisions", digest)
        return digest

    def put_manifest(self, where: Reference, manifest: bytes) -> str:
        """The manifest, and its tag moved to it: last, so that a tag never names what is not all there."""
        digest = self.put_revision(where.repository, manifest)
        tag = self._tag(where)
        algorithm, value = digest.split(":")
        _write_link(tag / "index" / algorithm / value / "link", digest)
        _write_link(tag / "current" / "link", digest)
        return digest

    def references(self) -> tuple[str, ...]:
        """Every image there, `registry/name:tag`, sorted."""
        repositories = self._base / "repositories"
        found = []
        for link in repositories.glob("**/_manifests/tags/*/current/link"):
            tag = link.parent.parent
            found.append(f"{tag.parent.parent.parent.relative_to(repositories)}:{tag.name}")
        return tuple(sorted(found))

    def drop_unless(self, wanted: Iterable[str]) -> None:
        """Takes away the tags of images that are no longer wanted; their blobs stay until `mirror build --fresh`."""
        keep = set(wanted)
        for reference in self.references():
            if reference not in keep:
                tag = self._tag(split_reference(reference))
                (tag / "current" / "link").unlink()

    def _tag(self, where: Reference) -> Path:
        return self._base / "repositories" / where.repository / "_manifests" / "tags" / where.tag

    def _blob(self, digest: str) -> Path:
        algorithm, value = digest.split(":")
        return self._base / "blobs" / algorithm / value[:2] / value / "data"

    def _store(self, content: bytes) -> str:
        digest = _digest(content)
        target = self._blob(digest)
        if not target.exists():
            target.parent.mkdir(parents=True, exist_ok=True)
            staged = target.with_name(".data.new")
            staged.write_bytes(content)
            staged.replace(target)
        return digest

    def _link(self, repository: str, kind: str, digest: str) -> None:
        algorithm, value = digest.split(":")
        _write_link(self._base / "repositories" / repository / kind / algorithm / value / "link", digest)


def _write_link(path: Path, digest: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    staged = path.with_name(".link.new")
    staged.write_text(digest)
    staged.replace(path)
