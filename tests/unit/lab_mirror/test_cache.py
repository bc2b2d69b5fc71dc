"""Products by what they were made from."""

from __future__ import annotations

from pathlib import Path

import pytest

from mlops_infra.lab.mirror.cache import Cache, place


def test_the_same_recipe_is_made_once(tmp_path: Path) -> None:
    cache, made = Cache(tmp_path), []

    def make(into: Path) -> None:
        made.append(into)
        (into / "out").write_text("x")

    first = cache.product("a", {"version": 1}, make)
    assert cache.product("a", {"version": 1}, make) == first
    assert len(made) == 1
    assert cache.product("a", {"version": 2}, make) != first
    assert (first / "out").read_text() == "x"


def test_a_broken_build_leaves_nothing_that_counts(tmp_path: Path) -> None:
    cache = Cache(tmp_path)

    def broken(into: Path) -> None:
        (into / "half").write_text("x")
        raise RuntimeError("no space left")

    with pytest.raises(RuntimeError):
        cache.product("a", {}, broken)
    assert list(tmp_path.iterdir()) == []
    assert not cache.has("a", {})
    assert (cache.product("a", {}, lambda into: None) / "recipe.json").exists()


def test_placing_a_file_over_itself_or_another_leaves_one_whole_file(tmp_path: Path) -> None:
    source, target = tmp_path / "source", tmp_path / "there" / "target"
    source.write_text("new")
    place(source, target)
    place(source, target)
    target.unlink()
    target.write_text("old")
    place(source, target)
    assert target.read_text() == "new"
    assert [path.name for path in target.parent.iterdir()] == ["target"]
