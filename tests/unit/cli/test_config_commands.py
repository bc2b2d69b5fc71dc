"""`init`, `validate` and `config`, as a person calls them."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from mlops_infra.cli.main import run
from mlops_infra.model.load import load_cluster

EXAMPLE = Path(__file__).parents[3] / "cluster.yaml"
HOSTS = ["--lb", "10.0.0.2", "--master", "m1=10.0.0.3", "--worker", "10.0.0.5"]


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.delenv("MLOPS_INFRA_CONFIG", raising=False)
    monkeypatch.delenv("MLOPS_INFRA_LAB", raising=False)
    return tmp_path


def test_validate_accepts_the_example_and_warns_about_its_age(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["validate", "-c", str(EXAMPLE)]) == 0
    out, err = capsys.readouterr()
    assert "mlops, 1 load balancer, 3 masters, 3 workers" in out
    assert "Kubernetes 1.31 is past its end of life since 2025-11-11" in err


def test_validate_tells_every_mistake_and_exits_with_5(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (here / "cluster.yaml").write_text(
        "name: X\nssh: {usr: a}\nhosts: {masters: [{name: m, address: 10.0.0.1}]}\nnetwork:\n  podSubnett: 10.0.0.0/8\n"
    )
    assert run(["validate"]) == 5
    _, err = capsys.readouterr()
    assert "cluster.yaml has 3 problems" in err
    for said in ("cluster.yaml:1:7", "cluster.yaml:2:7", "cluster.yaml:5:3", "did you mean `pod_cidr`?", "^"):
        assert said in err
    assert "Traceback" not in err


def test_validate_knows_which_manifests_are_pinned_for_what_is_installed(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    hosts = "{masters: [{name: m, address: 10.0.0.1}], workers: [{name: w, address: 10.0.0.2}]}"
    text = f"name: d\nssh: {{user: a}}\nhosts: {hosts}\nlb: {{api_port: 0}}\n"
    text += "versions: {flannel: 0.26.6, metallb: 9.9.9, ingress_nginx: 1.12.1}\n"
    (here / "cluster.yaml").write_text(text)
    assert run(["validate"]) == 5
    err = capsys.readouterr().err
    assert "cluster.yaml has 4 problems" in err
    assert "Flannel 0.26.6 is not known to this release of mlops-infra (did you mean `0.26.7`? it knows 0.26.7)" in err
    assert "MetalLB 9.9.9 is not known to this release of mlops-infra (it knows 0.14.8)" in err
    assert (
        "cluster.yaml:5:60: ingress-nginx 1.12.1 is not known" in err
        and "did you mean `1.11.5`? it knows 1.11.1, 1.11.5" in err
    )
    without = "network: {cni: none}\nmetallb: {enabled: false}\ningress: {controller: none}\n"
    (here / "cluster.yaml").write_text(text.replace("lb: {api_port: 0}\n", without))
    assert run(["validate"]) == 0


def test_validate_json_is_one_object(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["validate", "--json", "-c", str(EXAMPLE)]) == 0
    shape = json.loads(capsys.readouterr().out)
    assert shape["cluster"] == "mlops"
    assert shape["warnings"][0]["path"] == "versions.kubernetes"


def test_validate_json_tells_mistakes_as_objects(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (here / "cluster.yaml").write_text("name: d\nssh: {usr: a}\nhosts: {masters: [{name: m, address: 10.0.0.1}]}\n")
    assert run(["validate", "--json"]) == 5
    error = json.loads(capsys.readouterr().out)["error"]
    assert error["problems"] == [
        {
            "file": "cluster.yaml",
            "line": 2,
            "column": 7,
            "message": "unknown key `usr` in `ssh`",
            "path": "ssh.usr",
            "offending": "usr",
            "hint": "did you mean `user`?",
        }
    ]
    assert "cluster.yaml:2:7" in error["details"]


def test_without_a_file_every_command_says_how_to_make_one(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["validate"]) == 5
    assert run(["config", "show"]) == 5
    assert capsys.readouterr().err.count("mlops-infra init") == 2


def test_init_from_options_writes_what_validate_accepts(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["init", "--name", "demo", "--user", "me", *HOSTS]) == 0
    assert run(["validate"]) == 0
    assert [h.name for h in load_cluster(here / "cluster.yaml").cluster.all_hosts] == ["lb-1", "m1", "worker-1"]
    assert run(["init", "--name", "demo", "--user", "me", *HOSTS]) == 5
    assert "--force" in capsys.readouterr().err


def test_init_without_hosts_off_a_terminal_is_wrong_usage(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["init", "--user", "me"]) == 64
    assert "--from-ansible" in capsys.readouterr().err


def test_init_from_an_inventory(here: Path) -> None:
    (here / "hosts.ini").write_text("[k8s-masters]\nm1 ansible_host=10.0.0.1 ansible_user=root\n")
    assert run(["init", "--from-ansible", "hosts.ini", "-c", "sub/c.yaml"]) == 0
    assert load_cluster(here / "sub" / "c.yaml").cluster.ssh.user == "root"


@pytest.fixture
def keyboard(monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    """Writes to standard input, which is a terminal: off one, nothing is asked."""
    ours, theirs = os.openpty()
    with os.fdopen(theirs, "r") as terminal:
        monkeypatch.setattr("sys.stdin", terminal)
        yield ours
    os.close(ours)


def test_init_on_a_terminal_asks_and_writes_what_validate_accepts(
    here: Path, keyboard: int, capsys: pytest.CaptureFixture[str]
) -> None:
    # The second is the default; that there are masters is insisted on.
    os.write(keyboard, b"demo\n\nbalancer=10.0.0.2\n\n10.0.0.3, 10.0.0.4 m3=10.0.0.5\n10.0.0.6\n")
    assert run(["init"]) == 0
    said = "".join(capsys.readouterr())
    questions = ["Name of the cluster", "User that SSH logs in as", "Load balancers", "Masters", "Masters", "Workers"]
    places = [said.index(question) for question in questions]
    assert places == sorted(places) and said.count("Masters: addresses") == 2
    assert run(["validate"]) == 0
    cluster = load_cluster(here / "cluster.yaml").cluster
    assert (cluster.name, cluster.ssh.user) == ("demo", "ubuntu")
    hosts = {h.name: h.address for h in cluster.all_hosts}
    assert hosts == {
        "balancer": "10.0.0.2",
        "master-1": "10.0.0.3",
        "master-2": "10.0.0.4",
        "m3": "10.0.0.5",
        "worker-1": "10.0.0.6",
    }


def test_init_asks_only_for_what_no_option_says(here: Path, keyboard: int) -> None:
    os.write(keyboard, b"10.0.0.3\n")
    assert (
        run(["init", "--name", "d", "--user", "u", "--lb", "10.0.0.2", "--worker", "10.0.0.4", "--port", "2222"]) == 0
    )
    ssh = load_cluster(here / "cluster.yaml").cluster.ssh
    assert (ssh.user, ssh.port) == ("u", 2222)


@pytest.mark.parametrize("option", [["--port", "2222"], ["--lb", "l=10.0.0.9"], ["--master", "a"], ["--worker", "b"]])
def test_init_does_not_drop_what_contradicts_an_inventory(
    option: list[str], here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (here / "hosts.ini").write_text("[k8s-masters]\nm1 ansible_host=10.0.0.1 ansible_user=root\n")
    assert run(["init", "--from-ansible", "hosts.ini", *option]) == 64
    assert f"--from-ansible and {option[0]} exclude each other" in capsys.readouterr().err
    assert not (here / "cluster.yaml").exists()


def test_init_says_which_groups_of_an_inventory_it_left_out(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (here / "hosts.ini").write_text("[masters]\nm1 ansible_host=10.0.0.1 ansible_user=a\n[databases]\ndb1\n")
    assert run(["init", "--from-ansible", "hosts.ini", "--json"]) == 0
    out, err = capsys.readouterr()
    assert json.loads(out) == {"written": "cluster.yaml", "ignored": ["databases"]}
    assert "hosts.ini: left out, because no role is known for them: the groups databases" in err


def test_config_show_for_the_lab_needs_a_lab(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (here / "cluster.yaml").write_text("name: d\nssh: {user: a}\nhosts: {masters: [{name: m, address: 10.0.0.1}]}\n")
    assert run(["config", "show", "--lab"]) == 5
    assert "mlops-infra lab up" in capsys.readouterr().err
    overlay = here / ".mlops-infra" / "lab" / "overlay.yaml"
    overlay.parent.mkdir(parents=True)
    overlay.write_text("host: {time_sync: chrony}\n")
    assert run(["config", "show", "--lab"]) == 0
    assert "time_sync: chrony" in capsys.readouterr().out
    assert run(["config", "show", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["host"]["time_sync"] == "timesyncd"


def test_config_schema_is_json_schema(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["config", "schema"]) == 0
    assert json.loads(capsys.readouterr().out)["$schema"].startswith("https://json-schema.org/")
