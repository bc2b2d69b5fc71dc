"""Build products by what they were made from: a second build with the same recipe costs a stat."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

__all__ = ["Cache", "Recipe", "digest_of", "place", "sha256_file"]

Recipe = dict[str, Any]
"""Everything that decides what a product is, as JSON values."""


def sha256_file(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def digest_of(recipe: Recipe) -> str:
    return hashlib.sha256(json.dumps(recipe, sort_keys=True).encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class Cache:
    """A directory of products, `<name>-<first 16 digits of the recipe's sha256>/`, each beside its recipe."""

    root: Path

    def product(self, name: str, recipe: Recipe, make: Callable[[Path], None]) -> Path:
        """The directory that `make` filled for this recipe, now or earlier.

        `make` gets an empty directory; only when it returns does the product count, so a broken build leaves nothing
        that a later run could take for finished.
        """
        final = self.path(name, recipe)
        if (final / "recipe.json").exists():
            return final
        self.root.mkdir(parents=True, exist_ok=True)
        work = Path(tempfile.mkdtemp(prefix=f".{name}-", dir=self.root))
        try:
            make(work)
            (work / "recipe.json").write_text(json.dumps(recipe, indent=1, sort_keys=True) + "\n")
            work.chmod(0o755)
            if final.exists():
                shutil.rmtree(final)
            work.rename(final)
        finally:
            if work.exists():
                shutil.rmtree(work, ignore_errors=True)
        return final

    def path(self, name: str, recipe: Recipe) -> Path:
        return self.root / f"{name}-{digest_of(recipe)[:16]}"

    def has(self, name: str, recipe: Recipe) -> bool:
        return (self.path(name, recipe) / "recipe.json").exists()

    def newest(self, name: str) -> Path | None:
        """The product of that name made last, whatever its recipe."""
        found = [path.parent for path in self.root.glob(f"{name}-*/recipe.json")]
        return max(found, key=lambda path: path.stat().st_mtime, default=None)


def place(source: Path, target: Path) -> None:
    """`source` at `target` too: a hard link where the file system allows it, else a copy; never a half-written file."""
    target.parent.mkdir(parents=True, exist_ok=True)
    staged = target.with_name(f".{target.name}.new")
    staged.unlink(missing_ok=True)
    try:
        os.link(source, staged)
    except OSError:
        shutil.copyfile(source, staged)
    # rename(2) between two links of one file does nothing and leaves both names.
    if target.exists() and target.samefile(staged):
        staged.unlink()
    else:
        staged.replace(target)
