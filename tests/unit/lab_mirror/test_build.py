"""When a mirror is built, from where, and what is noted of it. Filling itself stands in here."""

from __future__ import annotations

import http.server
import shutil
import threading
from pathlib import Path

import pytest

from mlops_infra.core import Event
from mlops_infra.lab.mirror import build as building
from mlops_infra.lab.mirror.build import build_mirror, ensure_built, facts_of, usable_source
from mlops_infra.lab.mirror.deb import Deb
from mlops_infra.lab.mirror.layout import MirrorLayout
from mlops_infra.lab.mirror.oci import Image
from mlops_infra.lab.mirror.packages import PLATFORM_PACKAGES
from mlops_infra.lab.mirror.progress import MirrorError, Say
from mlops_infra.lab.mirror.versions import MirrorPlan, Versions

pytestmark = pytest.mark.skipif(shutil.which("gpg") is None, reason="gpg is not installed")


@pytest.fixture
def filled(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[MirrorPlan]:
    """Plans that were filled from source: one package and empty images each."""
    plans: list[MirrorPlan] = []

    def fill(layout: MirrorLayout, plan: MirrorPlan, say: Say) -> None:
        plans.append(plan)
        say("filling")
        debs = tmp_path / f"debs-{len(plans)}"
        debs.mkdir()
        made = [Deb(name, plan.versions.kubernetes, "x", ()).write(debs) for name in ("kubelet", "haproxy")]
        for codename in plan.codenames:
            repository = layout.repository(codename)
            repository.fill(made, keep=PLATFORM_PACKAGES)
            layout.publish(repository)
        for reference in plan.images:
            layout.registry.put(Image(reference, ()))

    monkeypatch.setattr(building, "fill_from_source", fill)
    return plans


def test_a_mirror_that_holds_the_plan_is_left_alone(filled: list[MirrorPlan], tmp_path: Path) -> None:
    first = ensure_built(tmp_path / "m", None, "source")
    assert ensure_built(tmp_path / "m", None, "auto") == first
    assert len(filled) == 1
    assert len(first.fingerprint) == 40
    assert first.key_file.read_text().startswith("-----BEGIN PGP PUBLIC KEY BLOCK-----")


def test_an_image_that_went_missing_is_put_back(filled: list[MirrorPlan], tmp_path: Path) -> None:
    made = ensure_built(tmp_path / "m", None, "source")
    MirrorLayout(tmp_path / "m").registry.drop_unless(made.images[1:])
    assert ensure_built(tmp_path / "m", None, "source").images == made.images
    assert len(filled) == 2


def test_what_was_added_by_name_stays_when_less_is_asked_for(filled: list[MirrorPlan], tmp_path: Path) -> None:
    build_mirror(tmp_path / "m", None, "source", MirrorPlan().with_components("metallb"))
    ensure_built(tmp_path / "m", None, "source")
    assert len(filled) == 1
    MirrorLayout(tmp_path / "m").key_file.unlink()
    facts = ensure_built(tmp_path / "m", None, "source")
    assert "metallb" in filled[-1].components
    assert "quay.io/metallb/speaker:v0.14.8" in facts.images


def test_two_versions_live_beside_each_other_so_that_an_upgrade_finds_both(
    filled: list[MirrorPlan], tmp_path: Path
) -> None:
    now, later = MirrorPlan(), MirrorPlan(Versions(kubernetes="1.31.5"))
    ensure_built(tmp_path / "m", None, "source", now)
    facts = ensure_built(tmp_path / "m", None, "source", later)
    assert {"kubelet_1.31.4_amd64.deb", "kubelet_1.31.5_amd64.deb"} <= set(facts.packages["trixie"])
    assert "haproxy_1.31.4_amd64.deb" not in facts.packages["trixie"]
    assert {"registry.k8s.io/kube-proxy:v1.31.4", "registry.k8s.io/kube-proxy:v1.31.5"} <= set(facts.images)
    ensure_built(tmp_path / "m", None, "source", now)
    assert len(filled) == 2


def test_without_a_finished_mirror_the_command_that_makes_one_is_named(tmp_path: Path) -> None:
    with pytest.raises(MirrorError) as caught:
        facts_of(tmp_path)
    assert caught.value.remedy == "mlops-infra mirror build"


def test_a_component_that_does_not_exist_is_refused_with_the_list() -> None:
    with pytest.raises(MirrorError) as caught:
        MirrorPlan().with_components("metalb")
    assert "metallb" in caught.value.remedy


def test_auto_asks_once_says_what_it_found_and_takes_the_other_way(
    filled: list[MirrorPlan], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int] = []

    def probe() -> str:
        asked.append(1)
        return "source"

    monkeypatch.setattr(building, "usable_source", probe)
    events: list[Event] = []
    build_mirror(tmp_path / "m", events.append, "auto")
    assert len(asked) == 1
    assert "not reachable within 3 s: building the mirror from source" in events[0].text
    assert len(filled) == 1


@pytest.mark.parametrize(
    ("status", "expected"), [(200, "upstream"), (401, "upstream"), (403, "source"), (502, "source")]
)
def test_the_probe_tells_a_registry_from_a_proxy_that_forbids(status: int, expected: str) -> None:
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            self.send_response(status)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            return

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        found = usable_source(f"http://127.0.0.1:{server.server_port}/v2/")
        server.shutdown()
        thread.join()
    assert found == expected


def test_the_probe_takes_silence_for_a_no() -> None:
    assert usable_source("http://127.0.0.1:1/v2/") == "source"
