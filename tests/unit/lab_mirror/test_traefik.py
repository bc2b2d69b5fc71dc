"""How Traefik is put together where the module proxy does not serve all of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from mlops_infra.lab.mirror.cache import Cache
from mlops_infra.lab.mirror.components import ASKED_COMPONENTS, OPTIONAL_COMPONENTS
from mlops_infra.lab.mirror.golang import Toolchain
from mlops_infra.lab.mirror.progress import MirrorError, say_through
from mlops_infra.lab.mirror.traefik import build_traefik
from mlops_infra.lab.mirror.versions import MirrorPlan
from mlops_infra.model.cluster import Cluster
from mlops_infra.phases.ingress_traefik import traefik_images

# A module cache of two modules, and a build that lists what it was given.
GO = """\
#!/bin/sh
echo "$*" >> {root}/log
case "$1 $2" in
  "env GOMODCACHE") echo {root}/mod ;;
  "build "*) while [ "$1" != -o ]; do shift; done; (cd "$PWD" && find . -type f | sort) > "$2" ;;
esac
"""
say = say_through(None)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    go = tmp_path / "go"
    go.write_text(GO.format(root=tmp_path))
    go.chmod(0o755)
    for path, text in {
        "github.com/traefik/traefik/v3@v3.7.13/go.mod": "require (\n\tgithub.com/go-acme/lego/v5 v5.4.1\n)\n",
        "github.com/traefik/traefik/v3@v3.6.12/go.mod": "require (\n\tgithub.com/go-acme/lego/v4 v4.35.2\n)\n",
        "github.com/go-acme/lego/v5@v5.4.1/go.mod": "module github.com/go-acme/lego/v5\n",
        "github.com/go-acme/lego/v5@v5.4.1/challenge/provider.go": "package challenge\n",
        "github.com/go-acme/lego/v5@v5.4.1/providers/dns/ovh/ovh.go": "package ovh\n",
    }.items():
        file = tmp_path / "mod" / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
        file.chmod(0o444)
    return tmp_path


def test_what_is_not_served_is_stood_in_for_and_all_else_is_the_modules_own(root: Path) -> None:
    home = build_traefik("3.7.13", Cache(root / "products"), Toolchain(root / "go", "go1.26.8"), say)
    files = (home / "traefik").read_text().split()
    assert {"./lego/go.mod", "./lego/challenge/provider.go", "./lego/providers/dns/stand_in.go"} <= set(files)
    assert {"./ext/go.mod", "./ext/stand_in.go"} <= set(files)
    assert not [name for name in files if "ovh" in name]
    log = (root / "log").read_text()
    for name in ("lego/v5=./lego", "dynamic/ext=./ext", "containous/mux@", "containous/go-http-auth@"):
        assert any("mod edit -replace=" in line and name in line for line in log.splitlines()), name
    assert "get -tool github.com/traefik/traefik/v3/cmd/traefik@v3.7.13" in log
    assert "pkg/version.Version=v3.7.13" in log
    assert [path.name for path in home.iterdir() if path.name != "recipe.json"] == ["traefik"]


def test_it_is_built_once(root: Path) -> None:
    cache, toolchain = Cache(root / "products"), Toolchain(root / "go", "go1.26.8")
    first = build_traefik("3.7.13", cache, toolchain, say)
    asked = (root / "log").read_text()
    assert build_traefik("3.7.13", cache, toolchain, say) == first
    assert (root / "log").read_text() == asked


def test_a_release_that_is_made_otherwise_is_refused_in_words(root: Path) -> None:
    with pytest.raises(MirrorError, match=r"Traefik 3\.6\.12 is not made as the releases from 3\.7 on"):
        build_traefik("3.6.12", Cache(root / "products"), Toolchain(root / "go", "go1.26.8"), say)


def test_only_a_cluster_that_chose_it_brings_it_into_a_mirror() -> None:
    def cluster(controller: str) -> Cluster:
        hosts = {"masters": [{"name": "m", "address": "10.0.0.1"}], "workers": [{"name": "w", "address": "10.0.0.2"}]}
        parts = {"name": "site", "ssh": {"user": "o"}, "hosts": hosts, "ingress": {"controller": controller}}
        return Cluster.model_validate(parts)

    chosen = MirrorPlan.of(cluster("traefik"))
    assert set(chosen.images) - set(MirrorPlan.of(cluster("nginx")).images) == set(traefik_images(cluster("traefik")))
    # A lab's mirror takes all that may be switched on later, but not this.
    assert not set(ASKED_COMPONENTS) & set(OPTIONAL_COMPONENTS)
    lab = MirrorPlan.of(cluster("nginx")).with_components(*OPTIONAL_COMPONENTS)
    assert "traefik" not in lab.components
    assert set(traefik_images(cluster("traefik"))) <= set(MirrorPlan().with_components("traefik").images)
