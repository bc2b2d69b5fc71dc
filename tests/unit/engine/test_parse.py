"""The parser takes a whole answer, or nothing."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlops_infra.core import (
    ABSENT,
    ApiList,
    ApiObject,
    Command,
    CommandFact,
    Facts,
    KernelFeature,
    Package,
    PackageFact,
    Probe,
    ReadLink,
    ReadText,
    Sha256,
    Stat,
    StatFact,
    Swaps,
    Sysctl,
    System,
    SystemFact,
    Unit,
    UnitFact,
    Unknown,
    Unreadable,
)
from mlops_infra.engine.observe import ApiEndpoint, compile_observe
from mlops_infra.engine.parse import parse_answers
from mlops_infra.engine.parse_api import answer_object, read_api
from mlops_infra.errors import InfraError
from mlops_infra.testing import FakeTransport, answer_script, scripted
from mlops_infra.testing.facts import read_script
from mlops_infra.transport import Target
from mlops_infra.transport.errors import TruncatedAnswer

NONCE = "abcdef123456"
SYSTEM = SystemFact(
    os_id="debian",
    os_version="13",
    codename="trixie",
    arch="amd64",
    kernel="6.12.0",
    hostname="master-1",
    machine_id="0123",
    cpus=4,
    memory=4 * 2**30,
    clock=1_700_000_000.25,
    cgroup_version=2,
    addresses=("10.0.0.1", "10.0.1.1"),
    virtualization="none",
)
NODE = {"apiVersion": "v1", "kind": "Node", "metadata": {"name": "master-1"}}
POOL = ApiObject("metallb.io/v1beta1", "IPAddressPool", "pool", "metallb-system")

WHOLE: dict[Probe[Any], Any] = {
    System(): SYSTEM,
    Swaps(): ("/swap file", "/dev/zram0"),
    Stat("/etc/x"): StatFact("file", 0o600, "root", "adm", 12),
    Stat("/gone"): ABSENT,
    ReadLink("/l"): "a\n\tb",
    Sha256("/etc/x"): "0" * 64,
    Sha256("/dir"): Unreadable("not a regular file"),
    Sysctl("net.ipv4.ip_forward"): "1",
    Sysctl("no.such"): ABSENT,
    KernelFeature("overlay"): True,
    KernelFeature("br_netfilter"): False,
    Package("kubelet"): PackageFact("1.31.4-1.1", held=True),
    Package("gone"): ABSENT,
    Unit("kubelet.service"): UnitFact("loaded", "active", "running", "enabled", needs_reload=False),
    Unit("gone.service"): ABSENT,
    ReadText("/etc/x"): "täxt\n\x00",
    ReadText("/none"): ABSENT,
    Command("df", "df -P /"): CommandFact(0, "out"),
    ApiObject("v1", "Node", "master-1"): NODE,
    ApiObject("v1", "Node", "gone"): ABSENT,
    ApiList("nodes"): (NODE,),
}


def whole_answer() -> bytes:
    return answer_script(
        WHOLE, {p: (("/swap\\040file", "/dev/zram0") if p == Swaps() else f) for p, f in WHOLE.items()}, NONCE
    )


def test_a_whole_answer_gives_the_facts_back() -> None:
    assert dict(parse_answers(whole_answer(), WHOLE, NONCE)) == WHOLE


@given(st.integers(min_value=0, max_value=len(whole_answer()) - 1))
@settings(max_examples=300, deadline=None)
def test_any_prefix_of_an_answer_is_a_fault_of_the_way(length: int) -> None:
    with pytest.raises(TruncatedAnswer):
        parse_answers(whole_answer()[:length], WHOLE, NONCE)


@given(st.binary(max_size=200))
@settings(deadline=None)
def test_rubbish_is_never_an_answer(rubbish: bytes) -> None:
    with pytest.raises(TruncatedAnswer):
        parse_answers(rubbish, WHOLE, NONCE)


@given(st.integers(min_value=0, max_value=len(whole_answer()) - 1), st.integers(min_value=0, max_value=255))
@settings(max_examples=300, deadline=None)
def test_a_flipped_byte_never_ends_in_a_traceback(place: int, value: int) -> None:
    broken = bytearray(whole_answer())
    broken[place] = value
    try:
        parse_answers(bytes(broken), WHOLE, NONCE)
    except InfraError as error:
        assert error.brief


@given(st.integers(min_value=1, max_value=whole_answer().count(b"\n") - 2))
@settings(deadline=None)
def test_a_missing_record_is_noticed(number: int) -> None:
    lines = whole_answer().splitlines(keepends=True)
    del lines[number]
    with pytest.raises(TruncatedAnswer):
        parse_answers(b"".join(lines), WHOLE, NONCE)


def test_an_answer_to_another_question_is_refused() -> None:
    with pytest.raises(TruncatedAnswer, match="not whole"):
        parse_answers(whole_answer(), WHOLE, "another12345")


def test_an_answer_that_lacks_a_probe_is_refused_even_where_its_count_fits() -> None:
    asked = frozenset({Stat("/a")})
    said = answer_script(asked, {}, NONCE)
    with pytest.raises(TruncatedAnswer):
        parse_answers(said, asked | {Stat("/b")}, NONCE)


def test_units_are_unknown_where_systemctl_fails() -> None:
    unit = Unit("x.service")
    assert parse_answers(answer_script([unit], {unit: Unknown("no bus")}, NONCE), [unit], NONCE)[unit] == Unknown(
        "systemctl did not answer"
    )


def test_packages_are_unknown_rather_than_absent_where_dpkg_fails() -> None:
    package = Package("kubelet")
    said = answer_script([package], {package: Unknown("locked")}, NONCE)
    assert isinstance(parse_answers(said, [package], NONCE)[package], Unknown)


def test_a_kind_without_its_crd_is_absent_and_the_other_objects_are_still_answered() -> None:
    said = b'error: resource mapping not found for name: "pool" namespace: "metallb-system" from "STDIN": ' + (
        b'no matches for kind "IPAddressPool" in version "metallb.io/v1beta1"\nensure CRDs are installed first\n'
    )
    items = b'{"kind": "List", "items": [{"apiVersion": "v1", "kind": "Node", "metadata": {"name": "master-1"}}]}'
    api = read_api({"objects -": (items, "1"), "objects-said -": (said, "0")})
    assert answer_object(api, POOL) == ABSENT
    assert answer_object(api, ApiObject("v1", "Node", "master-1")) == NODE
    assert answer_object(api, ApiObject("v1", "Node", "other")) == ABSENT


@pytest.mark.parametrize(
    ("ended", "said"),
    [
        ("1", "The connection to the server 10.0.0.1:6443 was refused - did you specify the right host or port?"),
        ("1", 'Error from server (Forbidden): nodes "x" is forbidden'),
        ("124", ""),
        ("1", ""),
    ],
)
def test_an_api_that_cannot_answer_is_unknown_never_absent(ended: str, said: str) -> None:
    api = read_api({"objects -": (b"", ended), "objects-said -": (said.encode(), "0")})
    answer = answer_object(api, ApiObject("v1", "Node", "x"))
    assert isinstance(answer, Unknown)
    assert answer.reason


def test_half_a_json_of_kubectl_is_unknown() -> None:
    api = read_api({"objects -": (b'{"kind": "List", "items": [', "0"), "objects-said -": (b"", "0")})
    assert answer_object(api, ApiObject("v1", "Node", "x")) == Unknown("kubectl's answer is not whole")


def test_a_scripted_host_answers_whatever_script_it_is_given() -> None:
    facts = {p: f for p, f in WHOLE.items() if not isinstance(p, Swaps)}
    transport = FakeTransport({"m1": scripted(facts)})
    session = transport.connect(Target("m1", "10.0.0.1"))
    script = compile_observe(facts, NONCE, ApiEndpoint("https://10.0.0.1:6443"))
    reply = session.exchange("sh -s", script, deadline=1)
    assert parse_answers(reply.stdout, facts, NONCE) == Facts(facts)
    assert transport.channels == {"m1": 1}


def test_reading_a_script_back_gives_its_probes() -> None:
    odd: list[Probe[Any]] = [
        Stat("/a b'\n\"c"),
        ReadText("/x", 7),
        Command("?", "echo 'a'\ntrue", 3),
        ApiList("nodes", "a=b"),
    ]
    _, asked = read_script(compile_observe(odd, NONCE, ApiEndpoint("https://x:6443")).decode(), {})
    assert set(asked.values()) == set(odd)


def got(text: bytes, ended: str = "0", said: bytes = b"") -> Any:
    return read_api({"got -": (text, ended), "got-said -": (said, "0")})


def test_answers_by_number_are_told_apart_by_the_files_they_came_in() -> None:
    api = got(
        b'==> /run/mlops-infra/api.x/a/1 <==\n{"kind":"Node","apiVersion":"v1","metadata":{"name":"master-1"}}\n'
        b'\n==> /run/mlops-infra/api.x/a/12 <==\n{"kind":"Status","apiVersion":"v1","code":404,"reason":"NotFound"}\n'
        b"\n==> /run/mlops-infra/api.x/a/13 <==\n404 page not found\n"
        b'\n==> /run/mlops-infra/api.x/a/14 <==\n{"kind":"Status","apiVersion":"v1","code":403,"message":"no"}\n'
        b'\n==> /run/mlops-infra/api.x/a/15 <==\n{"kind":"Nod',
        "28",
        b"curl: (28) Operation timed out\n",
    )
    node = ApiObject("v1", "Node", "master-1")
    assert answer_object(api, node, 1)["metadata"] == {"name": "master-1"}
    assert answer_object(api, node, 12) == ABSENT
    assert answer_object(api, node, 13) == ABSENT
    assert answer_object(api, node, 14) == Unknown("no")
    assert answer_object(api, node, 15) == Unknown("the API's answer is not whole")
    assert answer_object(api, node, 16) == Unknown("the API did not answer in time")


@pytest.mark.parametrize(
    ("ended", "said", "reason"),
    [
        ("7", b"curl: (7) Failed to connect to 10.0.0.1 port 6443\n", "Failed to connect to 10.0.0.1 port 6443"),
        ("124", b"", "the API did not answer in time"),
        ("0", b"", "the API gave no answer (curl 0)"),
    ],
)
def test_what_curl_brought_no_answer_to_is_unknown_never_absent(ended: str, said: bytes, reason: str) -> None:
    assert answer_object(got(b"", ended, said), ApiObject("v1", "Node", "x"), 0) == Unknown(reason)
