"""The generated question about ARP, between two network namespaces of its own: nothing leaves them."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator

import pytest

from mlops_infra.app.arp import Heard, arp_question, heard
from mlops_infra.core import CommandFact, Facts

ASKING, ANSWERING = "mlops-arp-a", "mlops-arp-b"


def ip(*words: str, check: bool = True) -> str:
    return subprocess.run(["ip", *words], check=check, capture_output=True, text=True).stdout


@pytest.fixture
def wire() -> Iterator[None]:
    """Two machines on a cable: 10.77.0.1 asks; the other is 10.77.0.2 and 10.77.0.5."""
    if os.geteuid() != 0 or shutil.which("ip") is None:
        pytest.skip("network namespaces need root and iproute2")
    for name in (ASKING, ANSWERING):
        ip("netns", "del", name, check=False)
        ip("netns", "add", name)
    try:
        ip("link", "add", "a0", "netns", ASKING, "type", "veth", "peer", "name", "b0", "netns", ANSWERING)
        ip("-n", ASKING, "addr", "add", "10.77.0.1/24", "dev", "a0")
        for address in ("10.77.0.2/24", "10.77.0.5/24"):
            ip("-n", ANSWERING, "addr", "add", address, "dev", "b0")
        for name, device in ((ASKING, "a0"), (ANSWERING, "b0")):
            ip("-n", name, "link", "set", device, "up")
        yield
    finally:
        for name in (ASKING, ANSWERING):
            ip("netns", "del", name, check=False)


def ask(addresses: list[str], tcp: list[tuple[str, int]], source: str = "10.77.0.1") -> Heard | str:
    question = arp_question(source, addresses, tcp)
    done = subprocess.run(
        ["ip", "netns", "exec", ASKING, "sh", "-c", question.script],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0 or source != "10.77.0.1", done.stderr
    return heard(Facts({question: CommandFact(done.returncode, done.stdout)}), question)


@pytest.mark.usefixtures("wire")
def test_who_answers_is_heard_with_its_mac_and_who_does_not_is_not() -> None:
    mac = ip("-n", ANSWERING, "-br", "link", "show", "b0").split()[2]
    found = ask(["10.77.0.2", "10.77.0.5", "10.77.0.9"], [])
    assert isinstance(found, Heard)
    assert found.answers == {"10.77.0.2": frozenset({mac}), "10.77.0.5": frozenset({mac})}
    assert found.network == "10.77.0.1/24"
    assert "10.77.0.1" in found.own


@pytest.mark.usefixtures("wire")
def test_a_port_that_takes_connections_is_told_from_one_that_does_not() -> None:
    listen = (
        "import socket,sys; s=socket.create_server(('10.77.0.5', 8080)); print('up', flush=True); "
        "s.settimeout(30); s.accept()"
    )
    server = subprocess.Popen(
        ["ip", "netns", "exec", ANSWERING, "python3", "-c", listen], stdout=subprocess.PIPE, text=True
    )
    try:
        assert server.stdout is not None and server.stdout.readline() == "up\n"
        found = ask(["10.77.0.5"], [("10.77.0.5", 8080), ("10.77.0.5", 8081)])
    finally:
        server.kill()
        server.communicate()
    assert isinstance(found, Heard)
    assert found.serving == {("10.77.0.5", 8080)}


@pytest.mark.usefixtures("wire")
def test_a_host_without_that_address_says_so() -> None:
    assert ask(["10.77.0.5"], [], source="10.77.0.77") == "no interface has 10.77.0.77"
