"""Packages that the mirror makes, looked at with dpkg-deb."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from mlops_infra.lab.mirror.deb import Deb, DebFile, read_control
from mlops_infra.lab.mirror.packages import PackageVersions, containerd_package, kubernetes_packages

needs_dpkg = pytest.mark.skipif(shutil.which("dpkg-deb") is None, reason="dpkg-deb is not installed")


def dpkg(*arguments: str | Path) -> str:
    return subprocess.run(["dpkg-deb", *map(str, arguments)], check=True, capture_output=True, text=True).stdout


@pytest.fixture
def binaries(tmp_path: Path) -> Path:
    """A directory that stands for the built programs of every component."""
    home = tmp_path / "built"
    home.mkdir()
    for name in ("kubelet", "kubeadm", "kubectl", "crictl", "bridge", "containerd", "ctr", "runc"):
        (home / name).write_bytes(b"\x7fELF " + name.encode() * 1000)
    (home / "recipe.json").write_text("{}")
    return home


def packages(binaries: Path) -> dict[str, Deb]:
    numbers = PackageVersions("1.31.4", "1.7.27")
    made = (
        *kubernetes_packages(numbers, binaries, binaries, binaries),
        containerd_package(numbers, binaries, binaries / "runc"),
    )
    return {deb.name: deb for deb in made}


def test_packages_have_the_names_and_versions_of_the_public_ones(binaries: Path) -> None:
    assert {f"{deb.name}={deb.version}" for deb in packages(binaries).values()} == {
        "kubelet=1.31.4-1.1",
        "kubeadm=1.31.4-1.1",
        "kubectl=1.31.4-1.1",
        "cri-tools=1.31.1-1.1",
        "kubernetes-cni=1.5.1-1.1",
        "containerd.io=1.7.27-1",
    }


@needs_dpkg
def test_dpkg_reads_the_kubelet_package_and_finds_its_unit_and_its_conffile(binaries: Path, tmp_path: Path) -> None:
    path = packages(binaries)["kubelet"].write(tmp_path)
    assert path.name == "kubelet_1.31.4-1.1_amd64.deb"
    listing = dpkg("-c", path)
    assert "./usr/lib/systemd/system/kubelet.service" in listing
    assert any(line.startswith("-rwxr-xr-x") and line.endswith("./usr/bin/kubelet") for line in listing.splitlines())
    assert dpkg("-I", path, "conffiles") == "/etc/default/kubelet\n"
    assert "kubernetes-cni (>= 1.2.0)" in dpkg("-f", path, "Depends")


@needs_dpkg
def test_the_kubeadm_package_brings_the_drop_in_that_kubeadm_writes_for(binaries: Path, tmp_path: Path) -> None:
    path = packages(binaries)["kubeadm"].write(tmp_path)
    dpkg("-x", path, tmp_path / "out")
    drop_in = (tmp_path / "out/usr/lib/systemd/system/kubelet.service.d/10-kubeadm.conf").read_text()
    assert "EnvironmentFile=-/var/lib/kubelet/kubeadm-flags.env" in drop_in
    assert "--config=/var/lib/kubelet/config.yaml" in drop_in


@needs_dpkg
def test_containerd_io_is_shipped_like_dockers_with_runc_and_with_cri_disabled(binaries: Path, tmp_path: Path) -> None:
    path = packages(binaries)["containerd.io"].write(tmp_path)
    dpkg("-x", path, tmp_path / "out")
    assert 'disabled_plugins = ["cri"]' in (tmp_path / "out/etc/containerd/config.toml").read_text()
    assert (tmp_path / "out/usr/bin/runc").exists()
    assert "runc" in dpkg("-f", path, "Conflicts")
    assert not (tmp_path / "out/usr/bin/recipe.json").exists()


def test_the_same_content_makes_the_same_bytes(tmp_path: Path) -> None:
    deb = Deb("a", "1", "x", (DebFile("/etc/a", b"one\n"), DebFile("/usr/bin/a", b"two", 0o755)))
    (tmp_path / "1").mkdir()
    (tmp_path / "2").mkdir()
    assert deb.write(tmp_path / "1").read_bytes() == deb.write(tmp_path / "2").read_bytes()


@needs_dpkg
def test_a_member_of_odd_length_is_padded_so_that_dpkg_finds_the_next(tmp_path: Path) -> None:
    for length in range(1, 9):
        deb = Deb(f"odd{length}", "1", "x", (DebFile("/a", b"z" * length),))
        assert "./a" in dpkg("-c", deb.write(tmp_path))


def test_maintainer_scripts_parse_as_posix_shell(binaries: Path) -> None:
    for deb in packages(binaries).values():
        for name, script in deb.scripts.items():
            done = subprocess.run(["sh", "-n"], input=script, text=True, capture_output=True, check=False)
            assert done.returncode == 0, (deb.name, name, done.stderr)


def test_the_control_paragraph_is_read_back_without_dpkg(tmp_path: Path) -> None:
    path = Deb("a", "2:1-3", "x", (), {"Depends": "b (>= 1), c"}).write(tmp_path)
    assert path.name == "a_2%3a1-3_amd64.deb"
    assert "Depends: b (>= 1), c\n" in read_control(path)


def test_what_is_no_package_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.deb"
    path.write_bytes(b"<html>not found</html>")
    with pytest.raises(ValueError, match="not a Debian package"):
        read_control(path)
