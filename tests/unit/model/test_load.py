"""Reading cluster.yaml: positions, all mistakes at once, overlays."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from datetime import date
from pathlib import Path
from textwrap import dedent

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlops_infra.errors import ConfigError, ExitCode
from mlops_infra.model.load import Loaded, load_cluster, load_text
from mlops_infra.model.problem import ConfigProblems, Problem

ROOT = Path(__file__).parents[3]
EXAMPLE = ROOT / "cluster.yaml"
TODAY = date(2026, 11, 23)
MINIMAL = """\
name: demo
ssh: {user: ubuntu}
hosts:
  masters:
    - {name: m1, address: 10.0.0.3}
"""


def load(text: str) -> Loaded:
    return load_text(dedent(text), Path("cluster.yaml"), today=TODAY)


def problems(text: str) -> list[Problem]:
    with pytest.raises(ConfigProblems) as caught:
        load(text)
    assert caught.value.exit_code == ExitCode.CONFIG
    return list(caught.value.problems)


def only(text: str) -> Problem:
    found = problems(text)
    assert len(found) == 1, [str(p) for p in found]
    return found[0]


def place(problem: Problem) -> tuple[int, int]:
    return problem.mark.line, problem.mark.column


def test_a_minimal_file_is_name_ssh_user_and_one_master() -> None:
    cluster = load(MINIMAL).cluster
    assert cluster.endpoint_name == "api.demo.internal"
    assert cluster.endpoint_address == "10.0.0.3"
    assert cluster.versions.kubernetes == "1.31.4"
    assert cluster.lb.ingress.http_node_port == 32624


def test_the_example_is_the_reference_platform_and_valid() -> None:
    cluster = load_cluster(EXAMPLE, today=TODAY).cluster
    assert [h.name for h in cluster.all_hosts] == [
        "lb-1",
        "master-1",
        "master-2",
        "master-3",
        "worker-1",
        "worker-2",
        "worker-3",
    ]
    assert [h.address for h in cluster.all_hosts] == [f"10.110.190.{n}" for n in range(21, 28)]
    assert cluster.endpoint_address == "10.110.190.21"
    assert cluster.metallb.pool == ("10.110.190.100-10.110.190.110",)


def test_what_the_example_shows_as_default_is_the_default() -> None:
    """But for what belongs to its site."""
    cluster = load_cluster(EXAMPLE).cluster
    bare = load(
        "name: mlops\nssh: {user: ubuntu}\n"
        "hosts:\n  lb: [{name: lb-1, address: 10.110.190.21}]\n  masters: [{name: m1, address: 10.110.190.22}]\n"
    ).cluster
    site = {"hosts", "metallb", "network", "control_plane_endpoint"}
    assert cluster.model_dump(exclude=site) == bare.model_dump(exclude=site)
    assert cluster.network.model_dump(exclude={"node_cidr"}) == bare.network.model_dump(exclude={"node_cidr"})
    assert cluster.endpoint_name == bare.endpoint_name


def test_the_places_for_copies_that_the_example_shows_are_valid() -> None:
    _, _, backup = EXAMPLE.read_text("utf-8").partition("  copies: []")
    shown = re.findall(r"^  #(  .*)$", backup, re.MULTILINE)
    text = "name: a\nssh: {user: a}\nhosts: {masters: [{name: m1, address: 10.0.0.3}]}\nbackup:\n  copies:\n"
    key = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5"
    found = load(
        text + "\n".join(f"  {line}" for line in shown).replace("ssh-ed25519 AAAA…", key)
    ).cluster.backup.copies
    assert [place.name for place in found] == ["vault", "cloud"]


def test_every_mistake_is_said_at_once_in_the_order_of_the_file() -> None:
    found = problems(
        """\
        name: My_Cluster
        ssh:
          usr: ubuntu
          port: 99999
        hosts:
          masters:
            - {name: m1, address: 10.0.0.3}
            - {name: m2, adress: 10.0.0.4}
            - {name: m1, address: 10.244.0.9}
          lb: [{name: lb, address: 10.0.0.2}]
        network:
          podSubnett: 10.9.0.0/16
          cni: flanel
        """
    )
    assert [place(p) for p in found] == [(1, 7), (3, 3), (4, 9), (8, 18), (9, 14), (9, 27), (12, 3), (13, 8)]
    assert found[0].hint == "" and "did you mean `my-cluster`?" in found[0].message
    assert found[1].hint == "did you mean `user`?"
    assert "between 1 and 65535" in found[2].message
    assert found[3].hint == "did you mean `address`?"
    assert "two hosts are called `m1`" in found[4].message
    assert "`network.pod_cidr`" in found[5].message
    assert found[6].hint == "did you mean `pod_cidr`?"
    assert found[7].hint == "did you mean `flannel`?"


def test_a_problem_shows_its_line_with_a_caret_below_the_place() -> None:
    problem = only(MINIMAL.replace("ssh: {user: ubuntu}", "ssh: {user: ubuntu, prot: 22}"))
    assert str(problem).startswith("cluster.yaml:2:21: unknown key `prot` in `ssh`")
    first, second = problem.excerpt().splitlines()
    assert first == "  2 | ssh: {user: ubuntu, prot: 22}"
    assert first[second.index("^") :].startswith("prot")


@pytest.mark.parametrize(
    ("line", "hint"),
    [
        ("netwrok: {}", "did you mean `network`?"),
        ("network: {serviceSubnet: 10.1.0.0/16}", "did you mean `service_cidr`?"),
        ("network: {pod-cidr: 10.1.0.0/16}", "did you mean `pod_cidr`?"),
        ("network: {dnsDomain: a.b}", "did you mean `dns_domain`?"),
        ("pod_cidr: 10.1.0.0/16", "`pod_cidr` belongs in `network:`"),
        ("kubernetesVersion: 1.31.4", "did you mean `kubernetes`, which belongs in `versions:`?"),
        ("lb: {stats: {usr: a}}", "did you mean `user`?"),
        ("lb: {timeouts: {conect: 1s}}", "did you mean `connect`?"),
        ("mirrors: {apt: [{urll: http://a, key_file: k}]}", "did you mean `url`?"),
        ("timeouts: {masters: 900}", "`timeouts` belongs in `lb:`"),
        ("metallb: {zzz: 1}", "known here: pool, pools, enabled"),
    ],
)
def test_a_misspelt_key_gets_the_right_one_also_where_it_is_nested_or_from_another_tool(line: str, hint: str) -> None:
    assert only(f"{MINIMAL}{line}\n").hint == hint


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("versions: {kubernetes: 1.30}", 'put it in quotes: "1.30"'),
        ("versions: {kubernetes: v1.31.4}", "has a leading v: write `1.31.4`"),
        ("versions: {kubernetes: '1.31'}", "not a whole version"),
        ("lb: {api_port: 0}", "a port lies between 1 and 65535"),
        ("lb: {api_port: https}", "must be a whole number, not text"),
        ("lb: {ingress: {http_node_port: 80}}", "NodePorts lie between 30000 and 32767"),
        ("lb: {balance: true}", "it is `roundrobin` or `leastconn`"),
        ("lb: [1]", "must be a mapping (`key: value` lines), not a list"),
        ("lb: {timeouts: {client: fast}}", "a time as HAProxy writes it"),
        ("lb:", "`lb` has no value"),
        ("metallb: {pool: 10.0.0.1-10.0.0.2}", "must be a list (lines that begin with `- `), not text"),
        ("security: {expose_metrics: 3}", "must be `true` or `false`"),
        ("network: {pod_cidr: 10.1.0.1/16}", "has host bits set: the network is 10.1.0.0/16"),
        ("network: {pod_cidr: everything}", "is not a network such as"),
        ("mirrors: {files: ftp://a}", "a URL that begins with http://"),
        ("lb: {stats: {password: {file: a, env: B}}}", "here is `file` and `env`"),
        ("lb: {stats: {password: {}}}", "here is nothing"),
        ("mirrors: {files: 'http://a:b/'}", "look at its host and port"),
        ("mirrors: {files: 'http://[a/'}", "look at its host and port"),
        ("mirrors: {apt: [{url: 'http://a/{codname}', key_file: k}]}", "did you mean `{codename}`?"),
        ("mirrors: {apt: [{url: 'http://a/{suite}', key_file: k}]}", "there are `{os}`, `{codename}`, `{arch}`"),
        ("mirrors: {apt: [{url: 'http://a/{arch', key_file: k}]}", "a brace without its pair"),
        ("host: {extra_packages: [foo bar]}", "`foo bar` is not the name of a Debian package"),
        ("host: {extra_packages: [curl=8.1]}", "`curl=8.1` is not the name of a Debian package"),
        ("host: {sysctls: {net.foo bar: 1}}", "`net.foo bar` is not a kernel setting"),
        ("host: {sysctls: {net..foo: 1}}", "`net..foo` is not a kernel setting"),
        ("host: {modules: ['a:b']}", "`a:b` is not the name of a kernel module"),
        ("containerd: {config: {plugins: null}}", "`containerd.config.plugins` has no value"),
        ("containerd: {config: {plugins: []}}", "`containerd.config.plugins` must be a mapping"),
        ("containerd: {config: {plugins: {a: {b: [1, null]}}}}", "`containerd.config.plugins.a.b[1]` has no value"),
        ("containerd: {config: {plugins: {a: {b: [{c: 1}]}}}}", "`containerd.config.plugins.a.b` cannot hold mappings"),
        ("control_plane_endpoint: api_server", "neither an IP address nor a DNS name"),
    ],
)
def test_a_wrong_value_is_told_in_the_words_of_the_file(line: str, said: str) -> None:
    assert said in str(only(f"{MINIMAL}{line}\n"))


@pytest.mark.parametrize("gone", ["name", "ssh", "hosts"])
def test_a_missing_section_is_named_and_nothing_else_is_invented(gone: str) -> None:
    lines = MINIMAL.splitlines(keepends=True)
    text = "".join(lines[:2] if gone == "hosts" else [x for x in lines if not x.startswith(gone)])
    assert only(text).message == f"`{gone}` is missing"


def test_a_host_without_address_does_not_hide_what_is_wrong_with_the_others() -> None:
    found = problems(
        """\
        name: demo
        ssh: {user: a}
        hosts:
          lb: [{name: lb, address: 10.0.0.9}]
          masters: [{name: a}, just-a-name, {name: c, address: 10.0.0.9}]
        """
    )
    assert [p.path for p in found] == ["hosts.masters[0].address", "hosts.masters[1]", "hosts.masters[2].address"]


@pytest.mark.parametrize(
    "masters",
    [
        "[{name: m1, adress: 10.0.0.1}]",
        "[{name: m1, ip: 10.0.0.1}, {name: m2, ip: 10.0.0.2}, {name: m3, ip: 10.0.0.3}]",
    ],
)
def test_masters_that_are_all_wrong_are_not_called_none(masters: str) -> None:
    found = problems(
        f"name: d\nssh: {{user: a}}\nhosts: {{lb: [{{name: l, address: 10.0.0.9}}], masters: {masters}}}\n"
    )
    assert {p.hint for p in found} == {"did you mean `address`?"}
    assert len(found) == masters.count("name")


def test_a_wrong_master_does_not_hide_the_mistakes_between_masters() -> None:
    found = problems("name: d\nssh: {user: a}\nhosts: {masters: [{name: m, ip: 10.0.0.1}, {name: m, ip: 10.0.0.2}]}\n")
    assert "two hosts are called `m`" in "\n".join(p.message for p in found)


def test_an_empty_list_of_masters_says_how_many_there_may_be() -> None:
    found = only("name: d\nssh: {user: a}\nhosts: {masters: []}\n")
    assert (found.message, found.hint) == (
        "`hosts.masters` is empty",
        "name one master, or three for high availability",
    )


@pytest.mark.parametrize(
    ("text", "line", "said"),
    [
        ("name: a\n\tssh: b\n", 2, "is not YAML"),
        ("name: [a\n", 2, "is not YAML"),
        ("name: a: b\n", 1, "is not YAML"),
        ("name: a\n---\nname: b\n", 2, "remove the second `---`"),
        ("name: 'a\n", 2, "is not YAML"),
        ("- a\n", 1, "must be a mapping of keys"),
        ("hello\n", 1, "must be a mapping of keys"),
        ("a: &a [*a]\n", 1, "contains itself"),
        ("name: !vault x\n", 1, "has no meaning here"),
        ("a: *nobody\n", 1, "is not YAML"),
        ("name: \x00\n", 0, "is not YAML"),
    ],
)
def test_what_is_not_yaml_is_a_problem_with_its_line(text: str, line: int, said: str) -> None:
    found = [p for p in problems(text) if said in str(p)]
    assert found and found[0].mark.line == line


def test_an_apt_mirror_may_depend_on_the_host_and_packages_and_settings_have_their_usual_names() -> None:
    cluster = load(
        MINIMAL + "mirrors: {apt: [{url: 'http://a:80/{os}/{codename}/{arch}/', key_file: k}]}\n"
        "host: {extra_packages: [libstdc++6, g++], sysctls: {net/ipv4/conf/eth0.1/arp_ignore: 1}, modules: [ip_vs]}\n"
    ).cluster
    assert cluster.host.extra_packages == ("libstdc++6", "g++")


def test_each_duplicate_key_is_told_with_the_line_of_the_first() -> None:
    found = problems(f"{MINIMAL}network:\n  cni: none\n  cni: flannel\nname: other\n")
    assert [(p.mark.line, p.hint) for p in found] == [(8, "first in line 7"), (9, "first in line 1")]


def test_aliases_that_unfold_without_end_are_refused_quickly() -> None:
    bomb = "a: &a [x, x, x, x, x, x, x, x, x]\n"
    for one, two in zip("abcdefg", "bcdefgh", strict=True):
        bomb += f"{two}: &{two} [{', '.join([f'*{one}'] * 9)}]\n"
    assert "unfolds" in only(bomb).message


def test_anchors_and_merge_keys_work_and_own_keys_win() -> None:
    cluster = load(
        """\
        name: demo
        ssh: {user: a}
        hosts:
          masters:
            - &m {name: m1, address: 10.0.0.1, labels: {x: "1"}}
          workers:
            - {<<: *m, name: w1, address: 10.0.0.2}
        """
    ).cluster
    assert cluster.hosts.workers[0].labels == {"x": "1"}
    assert cluster.hosts.workers[0].name == "w1"


def test_off_is_text_and_numbers_are_taken_where_text_is_natural() -> None:
    cluster = load(
        MINIMAL
        + "host: {swap: off, sysctls: {vm.max_map_count: 262144}}\nkubeadm: {api_server_args: {profiling: false}}\n"
    ).cluster
    assert cluster.host.swap == "off"
    assert cluster.host.sysctls == {"vm.max_map_count": "262144"}
    assert cluster.kubeadm.api_server_args == {"profiling": "false"}


def test_a_missing_file_says_how_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        load_cluster(tmp_path / "cluster.yaml")
    assert "there is no" in caught.value.brief
    assert "mlops-infra init" in caught.value.remedy


def test_a_file_that_is_not_utf8_is_told_with_the_line(tmp_path: Path) -> None:
    path = tmp_path / "c.yaml"
    path.write_bytes(b"name: a\n# \xe9\n")
    with pytest.raises(ConfigProblems) as caught:
        load_cluster(path)
    assert caught.value.problems[0].mark.line == 2


@pytest.fixture
def pair(tmp_path: Path) -> tuple[Path, Path]:
    base, over = tmp_path / "cluster.yaml", tmp_path / "overlay.yaml"
    base.write_text(
        MINIMAL + "kubeadm:\n  ignore_preflight_errors: [Swap, Mem]\nhost: {modules: [a], time_sync: none}\n"
    )
    return base, over


def test_an_overlay_merges_mappings_and_replaces_lists(pair: tuple[Path, Path]) -> None:
    base, over = pair
    over.write_text(
        "kubeadm: {ignore_preflight_errors: [HTTPProxyCIDR]}\nhost: {time_sync: chrony}\nssh: {port: 2022}\n"
    )
    loaded = load_cluster(base, over, today=TODAY)
    assert loaded.cluster.kubeadm.ignore_preflight_errors == ("HTTPProxyCIDR",)
    assert loaded.cluster.host.time_sync == "chrony"
    assert loaded.cluster.host.modules == ("a",)
    assert (loaded.cluster.ssh.user, loaded.cluster.ssh.port) == ("ubuntu", 2022)
    assert loaded.document["host"] == {"modules": ["a"], "time_sync": "chrony"}


def test_a_mistake_in_the_overlay_names_the_overlay(pair: tuple[Path, Path]) -> None:
    base, over = pair
    over.write_text("ssh:\n  prot: 22\nhosts: {}\n")
    with pytest.raises(ConfigProblems) as caught:
        load_cluster(base, over)
    assert [(p.mark.file, p.mark.line) for p in caught.value.problems] == [(over, 2), (over, 3)]


def test_a_mistake_in_the_file_names_the_file_when_there_is_an_overlay(pair: tuple[Path, Path]) -> None:
    base, over = pair
    base.write_text(base.read_text() + "netwrk: 1\n")
    over.write_text("host: {swap: keep}\n")
    with pytest.raises(ConfigProblems) as caught:
        load_cluster(base, over)
    assert [(p.mark.file, p.mark.line) for p in caught.value.problems] == [(base, 9)]


@given(st.text(max_size=60))
def test_no_text_ends_in_anything_but_a_cluster_or_problems(text: str) -> None:
    with pytest.raises(ConfigProblems):
        load_text(text, Path("c.yaml"), today=TODAY)


@given(st.integers(0, len(MINIMAL)), st.integers(1, 6))
def test_no_cut_through_a_good_file_ends_in_a_traceback(start: int, length: int) -> None:
    try:
        load_text(MINIMAL[:start] + MINIMAL[start + length :], Path("c.yaml"), today=TODAY)
    except ConfigProblems as error:
        assert error.problems


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)


@given(
    st.sampled_from(["name", "ssh", "hosts", "network", "lb", "metallb", "mirrors", "versions", "kubeadm"]),
    st.sampled_from(["", "lb", "masters", "pool", "stats", "apt", "pod_cidr"]),
    VALUES,
)
def test_any_value_anywhere_gives_a_cluster_or_problems(section: str, key: str, value: object) -> None:
    broken = {"name": "d", "ssh": {"user": "a"}, "hosts": {"masters": [{"name": "m", "address": "10.0.0.1"}]}}
    broken[section] = {key: value} if key else value  # type: ignore[assignment,dict-item]
    try:
        load_text(json.dumps(broken), Path("c.yaml"), today=TODAY)
    except ConfigProblems as error:
        assert error.problems


def test_reading_a_file_imports_neither_fabric_nor_typer_nor_rich() -> None:
    code = (
        "import sys; from pathlib import Path; from mlops_infra.app.context import open_site;"
        f"open_site(Path({str(EXAMPLE)!r}));"
        "print([m for m in ('fabric', 'paramiko', 'invoke', 'typer', 'rich', 'jinja2') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("mark", ["\u2028", "\x85"])
def test_a_place_is_the_same_whatever_libyaml_takes_for_the_end_of_a_line(mark: str) -> None:
    text = f"name: c  # a{mark}# b\nssh: {{usr: a}}\nhosts: {{masters: [{{name: m, address: 10.0.0.1}}]}}\n"
    with pytest.raises(ConfigProblems) as raised:
        load_text(text, Path("cluster.yaml"))
    assert {(p.mark.line, p.mark.column) for p in raised.value.problems if p.offending == "usr"} == {(2, 7)}
