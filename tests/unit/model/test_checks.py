"""Whether the parts of a cluster fit one another."""

from __future__ import annotations

import ipaddress
import json
import re
from datetime import date
from itertools import product
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlops_infra.model import checks_version
from mlops_infra.model.load import Loaded, load_text
from mlops_infra.model.problem import ConfigProblems, Problem
from mlops_infra.model.ranges import Range
from mlops_infra.model.releases import minor_of, parse_version, releases

TODAY = date(2026, 11, 23)


def document(masters: int = 3, balancers: int = 1, **sections: Any) -> str:
    hosts = {
        "lb": [{"name": f"lb-{n}", "address": f"10.0.0.{n}"} for n in range(1, balancers + 1)],
        "masters": [{"name": f"m{n}", "address": f"10.0.1.{n}"} for n in range(1, masters + 1)],
        "workers": [{"name": "w1", "address": "10.0.2.1"}],
    }
    return json.dumps({"name": "demo", "ssh": {"user": "a"}, "hosts": hosts, **sections}, indent=1)


def read(text: str, today: date = TODAY) -> Loaded:
    return load_text(text, Path("cluster.yaml"), today=today)


def errors(text: str) -> list[Problem]:
    try:
        read(text)
    except ConfigProblems as error:
        return list(error.problems)
    return []


def said(text: str) -> str:
    return "\n".join(str(p) for p in errors(text))


def warnings(text: str, today: date = TODAY) -> str:
    return "\n".join(str(p) for p in read(text, today).warnings)


NEW = {"kubernetes": "1.37.1", "containerd": "2.3.2"}
TOLD = {"receivers": [{"name": "team", "webhook": {"url": "http://10.0.9.9/alerts"}}]}


def test_a_sound_platform_of_supported_versions_has_neither_problem_nor_warning() -> None:
    assert warnings(document(versions=NEW, ingress={"controller": "none"}, monitoring=TOLD)) == ""


def test_two_masters_are_refused_and_four_are_warned_about() -> None:
    assert "two masters are worse than one" in said(document(masters=2))
    assert "4 masters survive the failure of 1, no more than 3 would" in warnings(document(masters=4))
    for count in (1, 3, 5):
        assert "survive" not in warnings(document(masters=count))


def test_no_masters_at_all_is_an_error() -> None:
    assert "hosts.masters" in said(document(masters=0))


def test_several_masters_need_something_in_front_of_them() -> None:
    assert "nothing in front of them" in said(document(balancers=0))
    assert said(document(balancers=0, masters=1)) == ""
    assert said(document(balancers=0, lb={"external": "10.0.9.1"})) == ""


def test_an_external_balancer_beside_own_ones_is_a_contradiction() -> None:
    assert "names hosts as well" in said(document(lb={"external": "10.0.9.1"}))


def test_a_vip_wants_two_load_balancers_and_two_load_balancers_a_vip() -> None:
    vip = {"vip": {"address": "10.0.9.1", "interface": "eth0"}}
    assert "only lb-1 of 2 load balancers is used" in warnings(document(balancers=2))
    assert "load balancers is used" not in warnings(document(balancers=2, lb=vip))
    assert "nowhere to move to" in warnings(document(lb=vip))
    assert "there is none" in said(document(balancers=0, lb=vip))
    assert "a VIP belongs to no host" in said(document(balancers=2, lb={"vip": {"address": "10.0.0.2"}}))


def test_a_vip_needs_an_interface_that_somebody_names() -> None:
    assert "on which interface of lb-2 the VIP 10.0.9.1 lives" in said(
        document(balancers=2, lb={"vip": {"address": "10.0.9.1"}})
    )


def test_duplicate_names_and_addresses_are_told_with_both_hosts() -> None:
    text = document().replace('"w1"', '"m1"')
    assert "two hosts are called `m1` (the other is hosts.masters[0])" in said(text)
    assert "m2 and w1 have the same address, 10.0.1.2" in said(document().replace("10.0.2.1", "10.0.1.2"))


def test_a_load_balancer_on_a_master_is_told_why_not() -> None:
    found = said(document().replace('"10.0.0.1"', '"10.0.1.1"'))
    assert "load balancer lb-1 and m1 have the same address" in found
    assert "HAProxy needs a host of its own" in found


def test_hosts_behind_one_address_need_ports_of_their_own() -> None:
    masters = [{"name": "m1", "address": "1.2.3.4", "internal_address": "10.0.0.1"}]
    workers = [{"name": "w1", "address": "1.2.3.4", "internal_address": "10.0.0.2", "ssh": {"port": 2222}}]
    apart = {"name": "d", "ssh": {"user": "a"}, "hosts": {"masters": masters, "workers": workers}}
    assert said(json.dumps(apart)) == ""
    del workers[0]["ssh"]
    assert "m1 and w1 are both reached at 1.2.3.4 port 22" in said(json.dumps(apart))


def test_an_address_outside_the_node_network_is_told_but_an_internal_one_inside_is_enough() -> None:
    found = said(document(network={"node_cidr": "10.0.0.0/23"}))
    assert "w1's address 10.0.2.1 lies outside `network.node_cidr` 10.0.0.0/23" in found
    assert "internal_address" in found
    assert "m1's" not in found


def test_kubeadms_usual_service_network_is_refused_where_the_hosts_lie_in_it() -> None:
    text = document(network={"service_cidr": "10.96.0.0/12"}).replace("10.0.1.", "10.110.190.")
    assert "m1's address 10.110.190.1 lies in `network.service_cidr`" in said(text)


@pytest.mark.parametrize(
    "network",
    [
        {"pod_cidr": "10.96.0.0/14"},
        {"service_cidr": "10.244.7.0/24"},
        {"node_cidr": "10.0.0.0/8"},
    ],
)
def test_networks_that_overlap_are_refused(network: dict[str, str]) -> None:
    assert "overlaps `network." in said(document(network=network))


def test_a_pool_may_lie_in_the_node_network_but_in_no_other_and_holds_no_host() -> None:
    net = {"node_cidr": "10.0.0.0/16"}
    assert said(document(network=net, metallb={"pool": ["10.0.9.1-10.0.9.9"]})) == ""
    assert "overlaps `network.pod_cidr`" in said(document(metallb={"pool": ["10.244.3.0/24"]}))
    assert "m2's address 10.0.1.2 lies in `metallb.pool[0]`" in said(document(metallb={"pool": ["10.0.1.2-10.0.1.2"]}))
    twice = {"pool": ["10.0.9.1-10.0.9.9", "10.0.9.9-10.0.9.12"]}
    assert "`metallb.pool[1]` (10.0.9.9-10.0.9.12) overlaps `metallb.pool[0]`" in said(document(metallb=twice))
    outside = document(network=net, metallb={"pool": ["192.168.1.0/28"]})
    assert "lies outside the hosts' network" in warnings(outside)


@pytest.mark.parametrize("pool", ["10.0.9.9-10.0.9.1", "10.0.9.9", "a-b", "10.0.0.0/33", "10.0.0.1-fd00::1", "-"])
def test_a_pool_that_is_no_range_is_told(pool: str) -> None:
    assert errors(document(metallb={"pool": [pool]}))[0].path == "metallb.pool[0]"


def test_the_endpoint_may_be_the_balancers_address_but_no_masters() -> None:
    assert said(document(control_plane_endpoint="10.0.0.1")) == ""
    assert "with that master the whole API would be gone" in said(document(control_plane_endpoint="10.0.1.2"))
    assert "the API is reached at 10.0.0.1" in said(document(control_plane_endpoint="10.9.9.9"))


def test_ports_of_the_balancer_do_not_collide() -> None:
    assert "port 443 is taken by `lb.stats.port`" in said(document(lb={"stats": {"port": 443}}))


def test_a_pod_network_too_small_for_the_nodes_is_told() -> None:
    assert "has room for 2 nodes" in said(document(network={"pod_cidr": "10.50.0.0/23"}))
    assert "larger than the API server accepts" in said(document(network={"service_cidr": "11.0.0.0/8"}))


def test_families_are_not_mixed() -> None:
    assert "is IPv6, and the hosts have IPv4 addresses" in said(document(network={"pod_cidr": "fd00::/48"}))


def test_a_node_with_a_name_for_an_address_needs_an_internal_one() -> None:
    text = document().replace('"10.0.2.1"', '"worker.example.com"')
    assert "is a name: Kubernetes needs the node's address" in said(text)
    assert said(text.replace('"worker.example.com"', '"worker.example.com", "internal_address": "10.0.2.1"')) == ""


@pytest.mark.parametrize("name", ["M1", "a_b", "-a", "a" * 64, "a b", "a..b", ""])
def test_a_host_name_that_kubernetes_would_refuse_is_refused(name: str) -> None:
    assert errors(document().replace('"w1"', f'"{name}"'))[0].path == "hosts.workers[0].name"


def test_scheduled_backups_that_stay_on_the_masters_are_worth_a_word() -> None:
    alone: dict[str, Any] = {"schedule": {"enabled": True}}
    place = {"name": "cloud", "s3": {"bucket": "b", "access_key": {"env": "A"}, "secret_key": {"env": "B"}}}
    (found,) = (w for w in read(document(backup=alone)).warnings if "backup" in w.hint)
    assert "lie on the masters only" in found.message
    assert "on the masters only" not in warnings(document(backup={**alone, "copies": [place]}))
    assert "on the masters only" not in warnings(document())


def test_end_of_life_is_a_warning_with_its_date_from_the_day_after() -> None:
    versions = {"kubernetes": "1.35.9", "containerd": "2.3.2"}
    text = document(versions=versions, ingress={"controller": "none"}, monitoring=TOLD)
    assert warnings(text, date(2027, 2, 28)) == ""
    assert "Kubernetes 1.35 is past its end of life since 2027-02-28" in warnings(text, date(2027, 3, 1))


def test_the_reference_versions_are_past_end_of_life_and_lack_named_fixes() -> None:
    found = warnings(document())
    assert "Kubernetes 1.31 is past its end of life since 2025-11-11" in found
    assert "1.31.4 lacks the fixes of CVE-2025-0426, CVE-2025-5187, CVE-2025-13281" in found
    assert "cluster.yaml: Kubernetes" in found, "a default stands in no line"


@pytest.mark.parametrize(
    ("versions", "message"),
    [
        ({"kubernetes": "1.99.0"}, "Kubernetes 1.99.0 is not known to this release"),
        ({"kubernetes": "1.31.20"}, "there is no Kubernetes 1.31.20 (the last 1.31 is 1.31.14)"),
        ({"kubernetes": "1.30.14"}, "its kubeadm does not read v1beta4"),
        ({"kubernetes": "1.37.1"}, "refuses containerd 1.7.27"),
        ({"containerd": "3.0.0"}, "containerd 3.0.0 is not known"),
    ],
)
def test_unknown_and_unfit_versions_are_errors(versions: dict[str, str], message: str) -> None:
    assert message in said(document(versions=versions))


def test_the_fix_table_knows_which_versions_lack_what() -> None:
    table = {f.id: f for f in releases().fixes}
    checkpoint, ssrf = table["CVE-2025-0426"], table["CVE-2025-13281"]
    assert [checkpoint.is_lacking(v) for v in ("1.31.5", "1.31.6", "1.28.9", "1.33.0")] == [True, False, True, False]
    assert [ssrf.is_lacking(v) for v in ("1.31.14", "1.32.10", "1.35.0")] == [True, False, False]


@pytest.mark.parametrize(
    ("version", "is_lacking"),
    [("1.10.9", True), ("1.11.4", True), ("1.11.5", False), ("1.12.0", True), ("1.12.1", False), ("1.13.0", False)],
)
def test_an_ingress_controller_without_the_fix_is_named_also_in_the_newer_line(version: str, is_lacking: bool) -> None:
    found = warnings(document(versions={"ingress_nginx": version}))
    assert "ingress-nginx is retired since March 2026" in found
    assert (f"{version} lacks the fix of CVE-2025-1974" in found) is is_lacking
    assert ("1.11.5 and 1.12.1 are the first of their lines with it" in found) is is_lacking


def test_what_is_known_about_versions_is_data() -> None:
    """The checks compare; what with, and where that is known from, stands in one file."""
    source = Path(checks_version.__file__).read_text("utf-8")
    assert not re.search(r"CVE-|https://|\b20[0-9]{2}\b|[0-9]+\.[0-9]+\.[0-9]+|\([0-9]+, [0-9]+", source)


def test_the_table_of_releases_is_in_order_and_complete_from_1_29_to_1_37() -> None:
    table = releases()
    assert list(table.kubernetes) == [f"1.{n}" for n in range(29, 38)]
    assert [m.eol for m in table.kubernetes.values()] == sorted(m.eol for m in table.kubernetes.values())
    assert all(minor_of(m.last) == m.name for t in (table.kubernetes, table.containerd) for m in t.values())
    assert table.companions["1.31.4"].etcd == "3.5.15-0"
    assert (table.companions["1.31.4"].coredns, table.companions["1.31.4"].pause) == ("v1.11.3", "3.10")
    assert all(parse_version(v) for f in table.fixes for v in f.fixed)


@pytest.mark.parametrize("password", ["geheim-123", {"value": "geheim-123"}])
def test_a_secret_in_clear_text_is_warned_about_and_never_repeated(password: object) -> None:
    loaded = read(document(lb={"stats": {"password": password}}))
    found = [w for w in loaded.warnings if "clear text" in w.message]
    assert len(found) == 1 and found[0].mark.line > 1
    assert "geheim-123" not in repr(found) + found[0].excerpt()
    assert loaded.cluster.lb.stats.password.value == "geheim-123"


@pytest.mark.parametrize(
    "lb",
    [
        "{stats: {prot: 1, password: geheim-123}}",
        "{stats: {password: {value: geheim-123, file: x}, port: 0}}",
        "{stats: {password: {valu: 1, value: geheim-123}}}",
        "{stats: {password: 8675309}}",
        "{stats: {password: {value: 8675309}}}",
    ],
)
def test_no_mistake_shows_a_secret_that_stands_in_its_line(lb: str) -> None:
    head = "name: d\nssh: {user: a}\nhosts: {masters: [{name: m, address: 10.0.0.1}]}\n"
    found = errors(f"{head}lb: {lb}\n")
    assert found
    shown = "".join(f"{p!r} {p} {p.excerpt()}" for p in found)
    assert "geheim" not in shown
    assert "8675309" not in shown


@pytest.mark.parametrize("written", ["geheim-123", "{value: geheim-123}", "{valu: 1, value: geheim-123}", "8675309"])
def test_the_key_of_a_store_is_warned_about_and_no_mistake_beside_it_shows_it(written: str) -> None:
    head = "name: d\nssh: {user: a}\nhosts: {masters: [{name: m, address: 10.0.0.1}]}\n"
    store = "backup: {copies: [{name: off, s3: {bucket: b, access_key: a, secret_key: %s%s}}]}\n"
    found = errors(head + store % (written, ", regon: x"))
    assert found
    if written in ("geheim-123", "{value: geheim-123}"):
        loaded = load_text(head + store % (written, ""), Path("cluster.yaml"))
        warned = [w for w in loaded.warnings if "clear text" in w.message]
        assert [w.path for w in warned] in ([f"backup.copies[0].s3.secret_key{end}"] for end in ("", ".value"))
        found = [*found, *warned]
    shown = "".join(f"{p!r} {p} {p.excerpt()}" for p in found)
    assert "geheim" not in shown
    assert "8675309" not in shown


SMALL = st.integers(0, 63)


@given(SMALL, SMALL, SMALL, SMALL)
def test_overlap_means_that_some_address_is_in_both(a: int, b: int, c: int, d: int) -> None:
    one, two = (Range(ipaddress.IPv4Address(min(p)), ipaddress.IPv4Address(max(p))) for p in ((a, b), (c, d)))
    truth = any(x == y for x, y in product(range(min(a, b), max(a, b) + 1), range(min(c, d), max(c, d) + 1)))
    assert one.overlaps(two) == two.overlaps(one) == truth
    assert one.covers(two) == all(ipaddress.IPv4Address(x) in one for x in range(min(c, d), max(c, d) + 1))


@given(st.integers(0, 2**32 - 1), st.integers(8, 32))
def test_a_network_and_the_same_written_as_first_and_last_are_equal(bits: int, prefix: int) -> None:
    network = ipaddress.ip_network((bits, prefix), strict=False)
    assert Range.parse(str(network)) == Range.parse(f"{network[0]}-{network[-1]}")
