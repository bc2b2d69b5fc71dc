"""Connecting: host keys, user keys, ports, bastions, and what is said when it does not work."""

from __future__ import annotations

import socket
import subprocess
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from mlops_infra.transport import Target, link
from mlops_infra.transport.errors import (
    AuthFailed,
    BastionProblem,
    HostKeyChanged,
    HostKeyUnknown,
    KeyFileProblem,
    NameUnknown,
    Refused,
    TimedOut,
    TransportError,
)
from mlops_infra.transport.known_hosts import HostKey, write_known_hosts
from mlops_infra.transport.ssh import SshTransport

from .conftest import Site
from .sshd import Sshd, free_port, keygen

Factory = Callable[..., Sshd]


def works(transport: SshTransport, target: Target) -> bool:
    return transport.connect(target).exchange("echo yes", b"", deadline=10).stdout == b"yes\n"


def test_a_pinned_key_is_accepted(site: Site) -> None:
    assert works(site.transport(), site.target)


def test_handshakes_take_turns_and_waiting_for_one_shortens_nobody_s_time(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Three hosts, one handshake at a time, each slow: the third begins when its own time would be nearly over."""
    monkeypatch.setattr(link, "HANDSHAKES", 1)
    now, most, lock, real = 0, 0, threading.Lock(), link.Links._handshake

    def slow(self: Any, *words: Any) -> Any:
        nonlocal now, most
        with lock:
            now += 1
            most = max(most, now)
        time.sleep(0.8)
        try:
            return real(self, *words)
        finally:
            with lock:
                now -= 1

    monkeypatch.setattr(link.Links, "_handshake", slow)
    transport = site.transport()
    target = replace(site.target, connect_timeout=2.0)
    with ThreadPoolExecutor(3) as pool:
        assert all(pool.map(lambda _: works(transport, target), range(3)))
    assert most == 1


def test_an_unknown_key_is_refused_and_the_remedy_named(site: Site) -> None:
    site.known_hosts.unlink()
    with pytest.raises(HostKeyUnknown) as caught:
        site.transport().connect(site.target)
    assert caught.value.remedy == "mlops-infra hosts trust h1"
    assert caught.value.fingerprint == HostKey(*site.daemon.public).fingerprint
    assert caught.value.host == "h1"


def test_a_changed_key_is_refused_at_once(site: Site, tmp_path: Path) -> None:
    kind, blob, *_ = Path(f"{keygen(tmp_path / 'other')}.pub").read_text().split()
    write_known_hosts(site.known_hosts, {site.target.key_name: [HostKey(kind, blob)]})
    started = time.monotonic()
    with pytest.raises(HostKeyChanged) as caught:
        site.transport().connect(site.target)
    assert time.monotonic() - started < 2
    assert "mlops-infra hosts trust --replace h1" in caught.value.remedy


def test_a_key_of_another_type_than_the_pinned_one_is_a_changed_key(site: Site, tmp_path: Path) -> None:
    kind, blob, *_ = Path(f"{keygen(tmp_path / 'other', 'ecdsa')}.pub").read_text().split()
    write_known_hosts(site.known_hosts, {site.target.key_name: [HostKey(kind, blob)]})
    with pytest.raises(HostKeyChanged):
        site.transport().connect(site.target)


def test_a_fingerprint_in_the_file_is_enough_and_wins_over_known_hosts(site: Site, tmp_path: Path) -> None:
    site.known_hosts.unlink()
    pinned = replace(site.target, host_key=HostKey(*site.daemon.public).fingerprint)
    assert works(site.transport(), pinned)
    kind, blob, *_ = Path(f"{keygen(tmp_path / 'other')}.pub").read_text().split()
    wrong = replace(site.target, host_key=HostKey(kind, blob).fingerprint)
    site.pin(site.target, site.daemon)
    with pytest.raises(HostKeyChanged) as caught:
        site.transport().connect(wrong)
    assert "cluster.yaml" in caught.value.remedy


def test_a_pinned_fingerprint_of_the_hosts_other_key_is_found(sshd_factory: Factory, tmp_path: Path) -> None:
    rsa = keygen(tmp_path / "rsa", "rsa")
    daemon = sshd_factory(f"HostKey {rsa}")
    kind, blob, *_ = Path(f"{rsa}.pub").read_text().split()
    site = Site(daemon, tmp_path)
    target = replace(site.target, host_key=HostKey(kind, blob).fingerprint)
    transport = site.transport()
    assert works(transport, target)
    transport.close()


@pytest.mark.parametrize("kind", ["rsa", "ecdsa", "ed25519"])
def test_host_keys_of_every_usual_type_can_be_pinned(sshd_factory: Factory, tmp_path: Path, kind: str) -> None:
    site = Site(sshd_factory(kind=kind), tmp_path)
    transport = site.transport()
    assert works(transport, site.target)
    transport.close()


def test_the_wrong_user_key_is_refused_with_the_command_that_mends_it(site: Site, tmp_path: Path) -> None:
    target = replace(site.target, identity=keygen(tmp_path / "stranger"))
    with pytest.raises(AuthFailed) as caught:
        site.transport().connect(target)
    assert caught.value.remedy.startswith("ssh-copy-id -i ")
    assert "stranger" in caught.value.brief


def test_a_user_that_is_not_there_is_refused(site: Site) -> None:
    with pytest.raises(AuthFailed, match="nobody-here"):
        site.transport().connect(replace(site.target, user="nobody-here"))


def test_key_files_that_cannot_be_used_are_told_apart(site: Site, tmp_path: Path) -> None:
    locked = keygen(tmp_path / "locked", passphrase="secret")
    rubbish = tmp_path / "rubbish"
    rubbish.write_text("no key\n")
    rubbish.chmod(0o600)
    shared = keygen(tmp_path / "shared")
    shared.chmod(0o644)
    for path, words in (
        (tmp_path / "missing", "is not there"),
        (locked, "is encrypted"),
        (rubbish, "is no private key"),
        (shared, "may be read by others"),
    ):
        with pytest.raises(KeyFileProblem, match=words) as caught:
            site.transport().connect(replace(site.target, identity=path, agent=False))
        assert caught.value.remedy
        assert str(path) in caught.value.brief


def test_an_agent_opens_with_an_encrypted_identity(site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "agent.sock"
    agent = subprocess.Popen(["ssh-agent", "-D", "-a", str(path)], stdout=subprocess.DEVNULL)
    try:
        for _ in range(100):
            if path.exists():
                break
            time.sleep(0.02)
        monkeypatch.setenv("SSH_AUTH_SOCK", str(path))
        subprocess.run(["ssh-add", "-q", str(site.daemon.user_key)], check=True, capture_output=True)
        assert works(site.transport(), replace(site.target, identity=None))
        locked = tmp_path / "locked"
        locked.write_bytes(site.daemon.user_key.read_bytes())
        locked.chmod(0o600)
        Path(f"{locked}.pub").write_bytes(Path(f"{site.daemon.user_key}.pub").read_bytes())
        subprocess.run(["ssh-keygen", "-q", "-p", "-N", "secret", "-f", str(locked)], check=True, capture_output=True)
        assert works(site.transport(), replace(site.target, identity=locked))
    finally:
        agent.terminate()
        agent.wait(5)


def test_a_port_where_nothing_listens_is_said(site: Site) -> None:
    target = replace(site.target, port=free_port(), connect_timeout=1.0)
    started = time.monotonic()
    with pytest.raises(Refused, match="refuses the connection"):
        site.transport().connect(target)
    assert time.monotonic() - started < 2


def test_a_name_that_does_not_resolve_is_said(site: Site) -> None:
    with pytest.raises(NameUnknown, match=r"no-such-host\.invalid"):
        site.transport().connect(replace(site.target, address="no-such-host.invalid"))


def test_a_host_that_accepts_and_says_nothing_is_given_up_in_time(site: Site) -> None:
    with socket.create_server(("127.0.0.1", 0)) as mute:
        target = replace(site.target, port=mute.getsockname()[1], connect_timeout=1.0)
        started = time.monotonic()
        with pytest.raises(TimedOut, match="within 1 s"):
            site.transport().connect(target)
        assert time.monotonic() - started < 6


class Dropper:
    """Stands in for MaxStartups: closes the first connections before the banner, then hands on to a real sshd."""

    def __init__(self, port: int, drops: int) -> None:
        self.server = socket.create_server(("127.0.0.1", 0))
        self.port = self.server.getsockname()[1]
        self.seen = 0
        self._to, self._drops = port, drops
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            try:
                client, _ = self.server.accept()
            except OSError:
                return
            self.seen += 1
            if self.seen <= self._drops:
                client.close()
                continue
            upstream = socket.create_connection(("127.0.0.1", self._to))
            for one, other in ((client, upstream), (upstream, client)):
                threading.Thread(target=self._copy, args=(one, other), daemon=True).start()

    @staticmethod
    def _copy(source: socket.socket, sink: socket.socket) -> None:
        try:
            while data := source.recv(65536):
                sink.sendall(data)
            sink.shutdown(socket.SHUT_WR)
        except OSError:
            pass
        finally:
            source.close()


@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_handshakes_dropped_before_the_banner_are_tried_again(site: Site) -> None:
    dropper = Dropper(site.daemon.port, drops=2)
    target = replace(site.target, port=dropper.port, connect_timeout=10.0)
    site.pin(target, site.daemon)
    assert works(site.transport(), target)
    assert dropper.seen == 3
    dropper.server.close()


def test_a_host_that_always_drops_is_given_up_after_four_attempts(site: Site) -> None:
    dropper = Dropper(site.daemon.port, drops=99)
    target = replace(site.target, port=dropper.port, connect_timeout=10.0)
    with pytest.raises(Refused, match="refuses"):
        site.transport().connect(target)
    assert dropper.seen == 4
    dropper.server.close()


def test_seven_hosts_are_connected_at_once(site: Site) -> None:
    transport = site.transport()
    transport.preload()
    with ThreadPoolExecutor(7) as pool:
        sessions = list(pool.map(transport.connect, [replace(site.target, name=f"h{i}") for i in range(7)]))
    assert [s.exchange("echo ok", b"", deadline=10).stdout for s in sessions] == [b"ok\n"] * 7


def test_every_host_behind_a_bastion_shares_one_connection_to_it(site: Site, sshd_factory: Factory) -> None:
    jump = sshd_factory()
    bastion = replace(site.target, name="bastion", port=jump.port, identity=jump.user_key)
    write_known_hosts(
        site.known_hosts,
        {site.target.key_name: [HostKey(*site.daemon.public)], bastion.key_name: [HostKey(*jump.public)]},
    )
    transport = site.transport()
    targets = [replace(site.target, name=f"h{i}", bastion=bastion) for i in range(12)]
    with ThreadPoolExecutor(12) as pool:
        sessions = list(pool.map(transport.connect, targets))
    assert all(s.exchange("echo ok", b"", deadline=10).stdout == b"ok\n" for s in sessions)
    assert jump.log.read_text().count("Accepted publickey") == 1


def test_an_unknown_bastion_is_refused_as_such(site: Site, sshd_factory: Factory) -> None:
    jump = sshd_factory()
    bastion = replace(site.target, name="bastion", port=jump.port, identity=jump.user_key)
    with pytest.raises(BastionProblem, match="the bastion of h1: the host key of bastion is not known") as caught:
        site.transport().connect(replace(site.target, bastion=bastion))
    assert caught.value.remedy == "mlops-infra hosts trust bastion"


def test_a_dead_bastion_is_waited_for_once_by_all(site: Site) -> None:
    with socket.create_server(("127.0.0.1", 0)) as mute:
        bastion = replace(site.target, name="bastion", port=mute.getsockname()[1], connect_timeout=1.0)
        transport = site.transport()
        started = time.monotonic()

        def problem(number: int) -> str:
            with pytest.raises(TransportError) as caught:
                transport.connect(replace(site.target, name=f"h{number}", bastion=bastion))
            return caught.value.host or ""

        with ThreadPoolExecutor(5) as pool:
            assert list(pool.map(problem, range(5))) == [f"h{n}" for n in range(5)]
        assert time.monotonic() - started < 3


def test_a_scan_shows_the_key_without_logging_in(site: Site) -> None:
    before = site.daemon.log.read_text().count("Accepted")
    site.known_hosts.unlink()
    assert site.transport().scan(site.target) == HostKey(*site.daemon.public)
    assert site.daemon.log.read_text().count("Accepted") == before


def test_ssh_config_fills_in_what_the_file_leaves_open_and_never_overrides_it(site: Site, tmp_path: Path) -> None:
    config = tmp_path / "config"
    config.write_text(
        f"Host h1 127.0.0.1\n  User nobody\n  Port 1\n  HostName 192.0.2.1\n  ForwardAgent yes\n"
        f"  IdentityFile {site.daemon.user_key}\n"
    )
    transport = SshTransport(site.known_hosts, ssh_config=config)
    site.transports.append(transport)
    assert works(transport, replace(site.target, identity=None, agent=False))


def test_proxy_jump_of_ssh_config_is_used(site: Site, sshd_factory: Factory, tmp_path: Path) -> None:
    jump = sshd_factory()
    config = tmp_path / "config"
    config.write_text(
        f"Host h1\n  ProxyJump root@jump\nHost jump\n  HostName 127.0.0.1\n  Port {jump.port}\n"
        f"Host *\n  IdentityFile {jump.user_key}\n"
    )
    write_known_hosts(
        site.known_hosts,
        {
            site.target.key_name: [HostKey(*site.daemon.public)],
            f"[127.0.0.1]:{jump.port}": [HostKey(*jump.public)],
        },
    )
    transport = SshTransport(site.known_hosts, ssh_config=config)
    site.transports.append(transport)
    assert works(transport, site.target)
    assert "Accepted publickey" in jump.log.read_text()
