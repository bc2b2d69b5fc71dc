"""Opening a site, resolving its secrets, showing its configuration."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from mlops_infra.app.config import effective_yaml, valid_shape
from mlops_infra.app.context import open_site
from mlops_infra.app.secrets import resolve
from mlops_infra.core.secret import MASK, Secret
from mlops_infra.errors import ConfigError
from mlops_infra.model.load import load_cluster
from mlops_infra.model.secret import MASK as MODEL_MASK
from mlops_infra.model.secret import SecretSource
from mlops_infra.model.site import Site

EXAMPLE = Path(__file__).parents[3] / "cluster.yaml"
MINIMAL = "name: demo\nssh: {user: ubuntu}\nhosts:\n  masters: [{name: m1, address: 10.0.0.3}]\n"


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "cluster.yaml"
    path.write_text(MINIMAL)
    return path


def test_a_site_is_opened_without_writing_anything(config: Path) -> None:
    site = open_site(config, lab=False)
    assert site.cluster.name == "demo"
    assert site.site.directory == config.parent / ".mlops-infra" / "site"
    assert [p.name for p in config.parent.iterdir()] == ["cluster.yaml"]


def test_the_lab_before_lab_up_says_what_to_run(config: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        open_site(config, lab=True)
    assert caught.value.remedy == "mlops-infra lab up"


def test_the_lab_has_its_overlay_and_its_own_directory(config: Path) -> None:
    overlay = Site(config, lab=True).overlay
    overlay.parent.mkdir(parents=True)
    overlay.write_text("host: {time_sync: chrony}\n")
    site = open_site(config, lab=True)
    assert site.cluster.host.time_sync == "chrony"
    assert site.site.directory.name == "lab"
    assert open_site(config, lab=False).cluster.host.time_sync == "timesyncd"


def test_in_the_lab_a_hosts_own_key_and_pin_do_not_count(config: Path) -> None:
    own = "ssh: {identity: mine, host_key: 'SHA256:x', port: 2222}"
    config.write_text(MINIMAL.replace("10.0.0.3}", f"10.0.0.3, {own}}}"))
    overlay = Site(config, lab=True).overlay
    overlay.parent.mkdir(parents=True)
    overlay.write_text("ssh: {identity: lab-key, agent: false, bastion: null, sudo_password: null}\n")
    at_home, in_lab = (open_site(config, lab=lab).cluster.hosts.masters[0].ssh for lab in (False, True))
    assert (at_home.identity, at_home.host_key) == ("mine", "SHA256:x")
    assert (in_lab.identity, in_lab.host_key, in_lab.port) == (None, None, 2222)


def test_a_missing_file_beats_a_missing_lab(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"there is no .*cluster\.yaml"):
        open_site(tmp_path / "cluster.yaml", lab=True)


def test_what_config_show_prints_is_the_same_cluster_again(tmp_path: Path) -> None:
    text, site = effective_yaml(EXAMPLE)
    again = tmp_path / "again.yaml"
    again.write_text(text)
    shown = load_cluster(again).cluster
    assert shown.model_dump() == site.cluster.model_dump()
    assert "tunnel: 4h" in text and "dns_domain: cluster.local" in text


def test_config_show_fills_in_the_endpoint_and_masks_a_secret_in_clear(config: Path) -> None:
    config.write_text(MINIMAL + "lb: {stats: {password: open-sesame}}\n")
    text, _ = effective_yaml(config)
    assert "control_plane_endpoint: api.demo.internal" in text
    assert "open-sesame" not in text and MASK in text


def test_there_is_one_mask() -> None:
    assert MODEL_MASK == MASK


def test_the_json_of_validate_counts_hosts_and_carries_warnings(config: Path) -> None:
    shape = valid_shape(open_site(config))
    assert shape["valid"] is True
    assert shape["hosts"] == {"lb": 0, "masters": 1, "workers": 0}
    assert {"file", "line", "column", "message", "path", "offending", "hint"} == set(shape["warnings"][0])


def test_a_secret_comes_from_a_file_beside_the_configuration_without_its_line_end(config: Path) -> None:
    (config.parent / "pw").write_text("pass word \n")
    assert resolve(SecretSource(file="pw"), "x", Site(config)) == Secret("pass word ")


@pytest.mark.parametrize("content", [None, "", "\n"])
def test_a_missing_or_empty_secret_file_is_told(config: Path, content: str | None) -> None:
    if content is not None:
        (config.parent / "pw").write_text(content)
    with pytest.raises(ConfigError, match="pw"):
        resolve(SecretSource(file="pw"), "x", Site(config))


def test_a_secret_comes_from_the_environment_or_is_missed_by_name(
    config: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DEMO_PW", "abc")
    assert resolve(SecretSource(env="DEMO_PW"), "x", Site(config)) == Secret("abc")
    monkeypatch.delenv("DEMO_PW")
    with pytest.raises(ConfigError, match="DEMO_PW"):
        resolve(SecretSource(env="DEMO_PW"), "x", Site(config))


def test_a_generated_secret_is_kept_for_the_owner_alone_and_stays_the_same(config: Path) -> None:
    site = Site(config)
    first = resolve(SecretSource(generate=True), "lb-stats", site)
    assert len(first.reveal()) >= 32
    assert resolve(SecretSource(generate=True), "lb-stats", site) == first
    assert (site.secrets / "lb-stats").stat().st_mode & 0o7777 == 0o600
    assert site.secrets.stat().st_mode & 0o7777 == 0o700
    assert resolve(SecretSource(generate=True), "other", site) != first
    assert sorted(p.name for p in site.secrets.iterdir()) == ["lb-stats", "other"]


def test_two_runs_at_once_end_up_with_one_generated_secret(config: Path) -> None:
    site = Site(config)
    barrier = threading.Barrier(8)
    found: list[Secret] = []

    def ask() -> None:
        barrier.wait()
        found.append(resolve(SecretSource(generate=True), "s", site))

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 8
    assert len(set(found)) == 1
