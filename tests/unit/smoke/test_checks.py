"""What answers mean: each check both ways, with a cause that fits what was seen."""

from __future__ import annotations

import subprocess

import pytest

from mlops_infra.app.smoke_checks import (
    Check,
    Deployed,
    Probe,
    Result,
    addresses_in,
    check_balancer,
    check_dns,
    check_ingress,
    check_node_ports,
    check_pods,
    check_running,
    check_service,
    parse_deployed,
    parse_probes,
    printf_words,
    query,
)

TEXT = """= class nginx
= pool ipaddresspool.metallb.io/default-pool
= pod smoke-1 worker-1 10.244.3.7 True
= pod smoke-2 worker-2  False
= service 10.96.77.8 31234
= lb 10.110.190.101
= event smoke-2 FailedCreatePodSandBox: plugin type="flannel" failed: network
"""
FULL = Deployed({"w1": "10.244.1.2", "w2": "10.244.2.2"}, (), "10.96.7.7", 31000, "10.0.0.100", "nginx")


def reply(*addresses: str, code: int = 0) -> bytes:
    """A name server's answer, names compressed as they are in life."""
    asked = query("smoke.x.svc.cluster.local")
    head = bytes([0x4D, 0x4C, 0x85, 0x80 | code, 0, 1, 0, len(addresses), 0, 0, 0, 0])
    records = b"".join(
        b"\xc0\x0c\x00\x01\x00\x01\x00\x00\x00\x05\x00\x04" + bytes(int(p) for p in a.split(".")) for a in addresses
    )
    return head + asked[12:] + records


def probe(id: str, ok: bool = True, text: str = "", source: str = "w1") -> Probe:
    return Probe(id, source, ok, 0.1, text)


def told(check: Check) -> str:
    assert check.result is Result.FAILED
    assert check.cause and check.remedy, "a failure says why, and what to do next"
    return f"{check.details} {check.cause} {check.remedy}"


def test_what_the_master_says_is_read() -> None:
    found = parse_deployed(TEXT)
    assert found.pods == {"worker-1": "10.244.3.7"}
    assert found.waiting == ("worker-2",)
    assert (found.service, found.node_port) == ("10.96.77.8", 31234)
    assert (found.balancer, found.ingress_class) == ("10.110.190.101", "nginx")
    assert parse_deployed("! no-api its API server does not say ready\n").problem.startswith("no-api ")


def test_no_pool_an_exhausted_pool_and_no_controller_are_three_things() -> None:
    assert parse_deployed("= class none\n= pool none\n= service 10.96.1.1 31000\n").balancer is None
    assert parse_deployed("= pool p\n= lb none\n").balancer == ""
    assert parse_deployed("= class none\n").ingress_class is None


def test_lines_of_probes_are_read_and_noise_is_not() -> None:
    lines = "bash: warning\n= dns ok 1500000000 ab cd\n= arp failed 12 nobody\n= odd\n"
    assert parse_probes(lines, "w1") == (
        Probe("dns", "w1", True, 1.5, "ab cd"),
        Probe("arp", "w1", False, 1.2e-08, "nobody"),
    )


def test_a_question_is_what_printf_makes_of_its_words() -> None:
    asked = query("a-label10.svc.cluster.local")
    done = subprocess.run(["bash", "-c", 'printf "$1"', "_", printf_words(asked)], capture_output=True, check=True)
    assert done.stdout == asked
    assert asked.endswith(b"\x05local\x00\x00\x01\x00\x01")


def test_addresses_are_found_behind_compressed_names() -> None:
    assert addresses_in(reply("10.96.7.7", "10.96.7.8")) == ("10.96.7.7", "10.96.7.8")
    assert addresses_in(reply(code=3)) == ()


@pytest.mark.parametrize("cut", range(0, 60, 3))
def test_a_cut_answer_is_none_and_no_accident(cut: int) -> None:
    assert addresses_in(reply("10.96.7.7")[:cut]) in ((), ("10.96.7.7",))


def test_pods_that_do_not_start_are_named_with_the_cause_that_events_tell() -> None:
    assert check_running(FULL, ["w1", "w2"], 1.0).result is Result.OK
    missing = parse_deployed(TEXT)
    assert "not on worker-2" in told(check_running(missing, ["worker-1", "worker-2"], 1.0))
    assert "Flannel" in check_running(missing, ["worker-1", "worker-2"], 1.0).cause
    pull = Deployed(events=("smoke-1 Failed: ErrImagePull",))
    assert "image" in check_running(pull, ["w1"], 1.0).cause


def test_dns_must_say_the_services_own_address() -> None:
    good = [probe("dns", text=reply("10.96.7.7").hex()), probe("nameserver", text="10.96.0.10")]
    assert check_dns(good, "smoke", "10.96.7.7").result is Result.OK
    assert "10.96.9.9" in told(check_dns([probe("dns", text=reply("10.96.9.9").hex())], "smoke", "10.96.7.7"))
    assert "no such name" in told(check_dns([probe("dns", text=reply(code=3).hex())], "smoke", "10.96.7.7"))
    silent = [probe("dns", ok=False), probe("nameserver", text="10.96.0.10")]
    assert "10.96.0.10" in told(check_dns(silent, "smoke", "10.96.7.7"))


def test_pods_across_nodes_name_the_pair_that_fails() -> None:
    nodes = ["w1", "w2"]
    assert check_pods([probe("pods:w2"), probe("pods:w1", source="w2")], nodes).result is Result.OK
    assert "w1 → w2" in told(check_pods([probe("pods:w2", ok=False)], nodes))
    assert "8472" in told(check_pods([probe("pods:w2", ok=False)], nodes))
    assert check_pods([], ["w1"]).result is Result.SKIPPED


def test_services_and_node_ports_blame_kube_proxy() -> None:
    assert check_service([probe("service")]).result is Result.OK
    assert "kube-proxy" in told(check_service([probe("service", ok=False)]))
    ports = [probe("nodeport:w1"), probe("nodeport:m1", ok=False, text="refused")]
    assert check_node_ports(ports[:1], 31000).result is Result.OK
    assert "m1: refused" in told(check_node_ports(ports, 31000))


def test_the_balancer_is_skipped_with_words_where_there_is_no_pool() -> None:
    arp, http = check_balancer(Deployed(balancer=None), [])
    assert (arp.result, http.result) == (Result.SKIPPED, Result.SKIPPED)
    assert "metallb.pool" in arp.details


def test_the_balancer_both_ways() -> None:
    arp, http = check_balancer(FULL, [probe("arp", text="aa:bb:cc:dd:ee:ff 10.0.0.7", source="lb-1"), probe("lb")])
    assert (arp.result, http.result) == (Result.OK, Result.OK)
    assert "10.0.0.100 is at aa:bb:cc:dd:ee:ff, the card of 10.0.0.7" in arp.details
    arp, http = check_balancer(FULL, [probe("arp", ok=False, text="nobody answers ARP"), probe("lb", ok=False)])
    assert "speaker" in told(arp)
    assert "10.0.0.100" in told(http)
    exhausted = Deployed(balancer="", events=("smoke-lb AllocationFailed: no available IPs", "smoke-1 Other: x"))
    assert "no available IPs" in told(check_balancer(exhausted, [])[0])
    routed = check_balancer(FULL, [probe("arp", text="not on this network"), probe("lb")])
    assert [c.result for c in routed] == [Result.SKIPPED, Result.OK]


def test_the_ingress_both_ways_and_its_three_reasons_to_be_skipped() -> None:
    good = [probe("ingress-http"), probe("ingress-https")]
    assert {c.result for c in check_ingress(FULL, good, "10.0.0.20")} == {Result.OK}
    http, https = check_ingress(FULL, [probe("ingress-http", ok=False, text="HTTP/1.0 503"), good[1]], "10.0.0.20")
    assert "nobody to ask" in told(http)
    assert https.result is Result.OK
    no_class = check_ingress(Deployed(ingress_class=None), good, "10.0.0.20")
    assert "no ingress controller" in no_class[0].details
    assert "no load balancer" in check_ingress(FULL, good, "")[0].details
    assert "nobody could be asked" in check_ingress(FULL, [], "10.0.0.20")[0].details


def test_an_ingress_that_the_api_did_not_take_is_told_where_it_is_missing_and_nowhere_else() -> None:
    said = "= class nginx\n= pod smoke-1 w1 10.244.1.2 False\n= event Ingress Refused: failed calling webhook: timeout"
    deployed = parse_deployed(said)
    bad = [probe("ingress-http", ok=False, text="HTTP/1.0 404"), probe("ingress-https", ok=False, text="404")]
    http, _ = check_ingress(deployed, bad, "10.0.0.20")
    assert http.result is Result.FAILED
    assert "failed calling webhook" in http.details
    assert "webhook does not answer" in http.cause
