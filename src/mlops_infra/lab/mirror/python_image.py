"""The public Python image that `examples/ml-service` runs on: Debian's Python under the image's name."""

from __future__ import annotations

import os
import shutil
import stat
from collections.abc import Iterator
from pathlib import Path

from mlops_infra.lab.mirror.cache import Cache, Recipe, sha256_file
from mlops_infra.lab.mirror.debian import python_packages
from mlops_infra.lab.mirror.oci import Image, LayerFile, layer_of_files
from mlops_infra.lab.mirror.programs import run
from mlops_infra.lab.mirror.progress import MirrorError, Say

__all__ = ["python_image"]

_UNREAD = ("doc", "man", "locale", "lintian", "info", "bug", "python-wheels", "perl", "bash-completion")
_LEFT_OUT = ("idlelib", "lib2to3", "pydoc_data", "turtledemo", "test", "ensurepip")


def python_image(reference: str, cache: Cache, say: Say) -> Image:
    """Python and its standard library; `python` and `python3` where the public image has them, no pip and no shell."""
    debs = sorted(python_packages(cache, say).glob("*.deb"))
    recipe: Recipe = {"kind": "python-root", "debs": {deb.name: sha256_file(deb) for deb in debs}, "form": 1}

    def make(into: Path) -> None:
        say(f"root of the image {reference}, from Debian's Python")
        root = into / "root"
        for name in ("bin", "sbin", "lib", "lib64"):
            (root / "usr" / name).mkdir(parents=True, exist_ok=True)
            (root / name).symlink_to(f"usr/{name}")
        for deb in debs:
            run(["dpkg-deb", "-x", deb, root], what=f"unpack {deb.name}")
        for name in _UNREAD:
            shutil.rmtree(root / "usr" / "share" / name, ignore_errors=True)
        for library in (root / "usr" / "lib").glob("python3.*"):
            for name in _LEFT_OUT:
                shutil.rmtree(library / name, ignore_errors=True)
        interpreter = root / "usr" / "bin" / "python3"
        if not interpreter.exists():
            raise MirrorError("no python3 in Debian's packages")
        (root / "usr/local/bin").mkdir(parents=True, exist_ok=True)
        for name in ("python", "python3"):
            (root / "usr/local/bin" / name).symlink_to("/usr/bin/python3")

    root = cache.product("python-root", recipe, make) / "root"
    say(f"image {reference} (Debian's Python)")
    return Image(reference, (layer_of_files(list(_files(root)), cache, "python"),), ("python3",))


def _files(root: Path) -> Iterator[LayerFile]:
    for folder, names, leaves in os.walk(root):
        for name in sorted([*leaves, *(one for one in names if Path(folder, one).is_symlink())]):
            path = Path(folder, name)
            inside = f"/{path.relative_to(root)}"
            if path.is_symlink():
                yield LayerFile(path, inside, link=str(path.readlink()))
            elif path.is_file():
                yield LayerFile(path, inside, stat.S_IMODE(path.stat().st_mode))
