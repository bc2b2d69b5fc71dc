"""What the mirror's commands print."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from mlops_infra.cli.main import run
from mlops_infra.lab.mirror import MirrorFacts, MirrorServer
from mlops_infra.model.mirrors import Mirrors
from mlops_infra.ui import mirror as ui


def facts(tmp_path: Path) -> MirrorFacts:
    return MirrorFacts(
        directory=tmp_path,
        source="source",
        fingerprint="A" * 40,
        key_file=tmp_path / "apt/key.asc",
        images=("ghcr.io/a/b:1", "registry.k8s.io/pause:3.10"),
        codenames=("trixie",),
        packages={"trixie": ("kubelet_1.31.4-1.1_amd64.deb", "libc6_2.41_amd64.deb")},
        files=("flannel/v1/a.yml",),
    )


def test_the_section_that_serve_prints_is_one_that_cluster_yaml_accepts(tmp_path: Path) -> None:
    server = MirrorServer(tmp_path, "10.0.0.5", files_port=81, registry_port=82)
    document = YAML(typ="safe").load(ui.settings(facts(tmp_path), server))
    mirrors = Mirrors(**document["mirrors"])
    assert mirrors.apt[0].url == "http://10.0.0.5:81/apt/{codename}"
    assert mirrors.apt[0].fingerprint == "A" * 40
    assert mirrors.registries == {
        "ghcr.io": "http://10.0.0.5:82/v2/ghcr.io",
        "registry.k8s.io": "http://10.0.0.5:82/v2/registry.k8s.io",
    }
    assert mirrors.files == "http://10.0.0.5:81/files"


def test_json_has_the_documented_fields_and_text_names_what_matters(tmp_path: Path, root: Path) -> None:
    out = io.StringIO()
    ui.show(facts(tmp_path), as_json=True, out=out)
    shape = json.loads(out.getvalue())
    documented = (root / "docs/reference/mirror.md").read_text()
    assert all(f'"{key}"' in documented for key in shape)
    out = io.StringIO()
    ui.show(facts(tmp_path), as_json=False, out=out)
    assert "kubelet_1.31.4" in out.getvalue()
    assert "libc6" not in out.getvalue()


def test_status_of_an_empty_directory_fails_with_the_command_that_fills_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["mirror", "status", str(tmp_path)]) == 1
    assert "mlops-infra mirror build" in capsys.readouterr().err


def test_a_home_without_an_address_is_wrong_usage(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    line = ["mirror", "build", str(tmp_path), "--home", "https://registry.k8s.io", "-c", str(tmp_path / "none.yaml")]
    assert run(line) == 64
    assert "PUBLIC=URL" in capsys.readouterr().err
