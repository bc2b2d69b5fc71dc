"""Images of the add-ons: which a platform needs, and what those that are made here consist of."""

from __future__ import annotations

import gzip
import subprocess
import tarfile
from pathlib import Path
from typing import Any

import pytest

from mlops_infra.lab.mirror import addon_images
from mlops_infra.lab.mirror.addon_images import AddonImages
from mlops_infra.lab.mirror.cache import Cache
from mlops_infra.lab.mirror.deb import Deb, DebFile
from mlops_infra.lab.mirror.golang import Toolchain
from mlops_infra.lab.mirror.oci import Image
from mlops_infra.lab.mirror.progress import say_through
from mlops_infra.lab.mirror.versions import MirrorPlan, Versions
from mlops_infra.model.cluster import Cluster
from mlops_infra.phases.metrics import metrics_images
from mlops_infra.phases.monitoring import monitoring_images
from mlops_infra.phases.storage import storage_images


def cluster(**parts: Any) -> Cluster:
    hosts = {"masters": [{"name": "m", "address": "10.0.0.1"}], "workers": [{"name": "w", "address": "10.0.0.2"}]}
    return Cluster.model_validate({"name": "site", "ssh": {"user": "o"}, "hosts": hosts, **parts})


ALL = {"storage": {"class": "local-path"}, "metrics": {"enabled": True}, "monitoring": {"enabled": True}}


def test_a_mirror_holds_just_the_images_that_the_phases_run() -> None:
    whole, off = cluster(**ALL), {"storage": {"class": "none"}, "metrics": {"enabled": False}}
    bare = cluster(**off, monitoring={"enabled": False})
    added = set(MirrorPlan.of(whole).images) - set(MirrorPlan.of(bare).images)
    assert added == {*storage_images(whole), *metrics_images(whole), *monitoring_images(whole)}


def test_a_site_of_its_own_versions_gets_those_and_a_lab_what_can_be_built() -> None:
    asked = MirrorPlan.of(cluster(**ALL, versions={"prometheus": "3.5.0", "grafana": "12.0.1", "metallb": "0.14.8"}))
    assert "quay.io/prometheus/prometheus:v3.5.0" in asked.images
    built = asked.from_source().images
    assert f"quay.io/prometheus/prometheus:v{Versions().prometheus}" in built
    assert "docker.io/grafana/grafana:12.0.1" in built


@pytest.fixture
def maker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AddonImages:
    """Of empty programs, and of Debian packages made here."""

    def packed(directory: str, name: str, *paths: str) -> Path:
        home = tmp_path / directory
        home.mkdir(exist_ok=True)
        Deb(name, "1.0", "x", tuple(DebFile(path, b"x") for path in paths)).write(home)
        return home

    programs = {}
    for name in ("local-path", "metrics-server", "kube-state-metrics"):
        binary = "local-path-provisioner" if name == "local-path" else name
        programs[name] = tmp_path / name
        programs[name].mkdir()
        (programs[name] / binary).write_text(binary)
    packed("debs", "prometheus", "/usr/bin/prometheus", "/usr/bin/promtool", "/usr/share/doc/prometheus/README")
    template = "/usr/share/prometheus/alertmanager/default.tmpl"
    packed("debs", "prometheus-alertmanager", "/usr/bin/prometheus-alertmanager", "/usr/bin/amtool", template)
    debs = packed("debs", "prometheus-node-exporter", "/usr/bin/prometheus-node-exporter")
    base = packed("base", "libc6", "/usr/lib/x/libc.so.6", "/usr/lib64/ld-linux-x86-64.so.2", "/usr/sbin/ldconfig")
    monkeypatch.setattr(addon_images, "monitoring_packages", lambda cache, say: debs)
    monkeypatch.setattr(addon_images, "base_packages", lambda cache, say: base)
    busybox = tmp_path / "busybox"
    busybox.write_text("busybox")
    return AddonImages(Versions(), programs, busybox, Cache(tmp_path / "cache"), say_through(None))


def fake_go(tmp_path: Path) -> Toolchain:
    go = tmp_path / "go"
    go.write_text('#!/bin/sh\nwhile [ $# -gt 0 ]; do [ "$1" != -o ] || echo made > "$2"; shift; done\n')
    go.chmod(0o755)
    return Toolchain(go, "go1.26.0")


def made(maker: AddonImages, tmp_path: Path) -> dict[str, Image]:
    images = maker.of(frozenset({"storage", "metrics", "monitoring", "kubernetes"}), fake_go(tmp_path))
    return {image.reference.rpartition(":")[0]: image for image in images}


def names_in(image: Image) -> set[str]:
    found: set[str] = set()
    for layer in image.layers:
        with gzip.open(layer.blob) as plain, tarfile.open(fileobj=plain) as tar:
            found |= {entry.name for entry in tar if not entry.isdir()}
    return found


def test_debians_programs_stand_under_upstreams_names_above_a_c_library(maker: AddonImages, tmp_path: Path) -> None:
    image = made(maker, tmp_path)["quay.io/prometheus/alertmanager"]
    programs = {"bin/alertmanager", "bin/amtool", "usr/share/prometheus/alertmanager/default.tmpl"}
    library = {"usr/lib/x/libc.so.6", "usr/lib64/ld-linux-x86-64.so.2", "lib64"}
    assert names_in(image) == programs | library
    assert image.entrypoint == ("/bin/alertmanager",)
    assert image.user == "65534"


def test_every_image_of_the_plan_is_made(maker: AddonImages, tmp_path: Path) -> None:
    none = {"storage": {"class": "none"}, "metrics": {"enabled": False}, "monitoring": {"enabled": False}}
    wanted = set(MirrorPlan.of(cluster(**ALL)).images) - set(MirrorPlan.of(cluster(**none)).images)
    assert len(wanted) == 8
    assert {image.reference for image in made(maker, tmp_path).values()} >= wanted


def test_helpers_of_volumes_have_the_words_that_they_are_told(maker: AddonImages, tmp_path: Path) -> None:
    assert {"bin/sh", "bin/mkdir", "bin/rm"} <= names_in(made(maker, tmp_path)["docker.io/library/busybox"])


def test_the_stand_in_for_grafana_says_so() -> None:
    source = Path(addon_images.__file__).parent / "stand_ins" / "grafana.go"
    assert "stand-in" in source.read_text().splitlines()[0]
    assert subprocess.run(["head", "-c", "3", str(source)], capture_output=True, check=True).stdout == b"// "
