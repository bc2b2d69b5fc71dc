"""The program that calls many at once, run for real against servers of this machine."""

from __future__ import annotations

import socket
import struct
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from sick import cluster_of

from mlops_infra.doctor import scripts
from mlops_infra.doctor.going import PROGRAM, from_masters, from_nodes

CLUSTER = cluster_of(monitoring={"enabled": True})


def called(*words: str) -> list[str]:
    """Its lines."""
    done = subprocess.run(["perl", "-e", PROGRAM, *words], capture_output=True, text=True, timeout=30, check=False)
    assert done.stderr == ""
    return done.stdout.splitlines()


@contextmanager
def serving(answer: bytes) -> Iterator[int]:
    """One HTTP server that answers once, whatever it is asked."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            channel, _ = server.accept()
            with channel:
                channel.recv(4096)
                channel.sendall(answer)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield server.getsockname()[1]
        thread.join(5)


def closed() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


def test_health_pages_are_told_by_their_first_line() -> None:
    with serving(b"HTTP/1.0 200 OK\r\n\r\nok") as port:
        assert called(f"get:healthz:127.0.0.1:{port}:/healthz") == ["healthz\tHTTP/1.0 200 OK"]
    assert called(f"get:proxyz:127.0.0.1:{closed()}:/healthz") == ["proxyz\trefused"]


def test_an_open_way_and_a_refused_one_are_open_and_counted() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        assert called(f"way:127.0.0.1:{server.getsockname()[1]}", f"way:127.0.0.1:{closed()}") == ["ways\t2"]


def test_a_way_without_an_answer_is_told_within_seconds() -> None:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen(0)
        port = server.getsockname()[1]
        # Nobody accepts: once the queue is full, the kernel lets the rest wait.
        waiting = [socket.socket() for _ in range(4)]
        for one in waiting:
            one.setblocking(False)
            one.connect_ex(("127.0.0.1", port))
        begun = time.monotonic()
        assert called(f"way:127.0.0.1:{port}") == [f"way\t127.0.0.1 {port} silent", "ways\t1"]
        assert time.monotonic() - begun < 6
        for one in waiting:
            one.close()


def test_the_metrics_of_etcd_are_cut_to_one_histogram_and_a_query_to_one_line() -> None:
    page = b'HTTP/1.0 200 OK\r\n\r\n# HELP x\netcd_disk_wal_fsync_duration_seconds_bucket{le="0.128"} 42\nother 1\n'
    with serving(page) as port:
        assert called(f"get:etcd:127.0.0.1:{port}:/metrics") == ["etcd-wal\t0.128 42"]
    with serving(b'HTTP/1.0 200 OK\r\nA: b\r\n\r\n{"status":\n"success"}') as port:
        assert called(f"get:targets:127.0.0.1:{port}:/x?query=1") == ['targets\t{"status": "success"}']


def test_prometheus_is_asked_at_ones_own_address_whether_or_not_the_named_host_lives() -> None:
    """The way to any address of the loopback begins at 127.0.0.1: nobody listens at the one that is named."""
    with serving(b"HTTP/1.0 200 OK\r\n\r\n{}") as port:
        assert called(f"own:targets:127.0.0.9:{port}:/x?query=1") == ["targets\t{}"]


@pytest.mark.parametrize(
    ("code", "found", "said"), [(0, 1, "ok"), (3, 0, "code 3, 0 answers"), (0, 0, "code 0, 0 answers")]
)
def test_a_name_is_asked_for_again_where_the_first_question_is_lost(code: int, found: int, said: str) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.bind(("127.0.0.1", 0))
        asked: list[bytes] = []

        def serve() -> None:
            for _ in range(2):
                question, who = server.recvfrom(512)
                asked.append(question)
            server.sendto(question[:2] + struct.pack("!5H", 0x8180 | code, 1, found, 0, 0) + question[12:], who)

        threading.Thread(target=serve, daemon=True).start()
        assert called(f"dns:127.0.0.1:{server.getsockname()[1]}:kubernetes.default.svc.cluster.local") == [
            f"dns\t{said}"
        ]
    assert b"\x0akubernetes\x07default\x03svc\x07cluster\x05local\x00\x00\x01\x00\x01" in asked[0]


def test_masters_call_etcd_and_kubelets_and_everybody_the_api_servers_and_the_dns() -> None:
    everywhere, masters = from_nodes(CLUSTER).split(), from_masters(CLUSTER)
    assert "way:10.0.0.2:6443" in everywhere
    assert "way:10.0.0.12:7946" in everywhere
    assert "dns:10.96.0.10:53:kubernetes.default.svc.cluster.local" in everywhere
    assert "vxlan" in everywhere
    assert not [word for word in everywhere if word.endswith((":2380", ":10250"))]
    assert {"way:10.0.0.3:2380", "way:10.0.0.12:10250"} <= set(masters.split())
    for query in ("targets", "deprecated", "watchdog"):
        assert f"own:{query}:10.0.0.1:30900:/api/v1/query?query=" in masters


def test_what_is_off_is_not_called() -> None:
    bare = cluster_of(
        network={"cni": "none"}, metallb={"enabled": False}, kubelet={"config": {"clusterDNS": ["10.9.9.9"]}}
    )
    words = from_nodes(bare)
    assert "vxlan" not in words
    assert ":7946" not in words
    assert "dns:10.9.9.9:53:" in words
    assert "targets" not in from_masters(bare)


def test_no_apostrophe_ends_the_program_early_and_the_scripts_are_sh(tmp_path: Path) -> None:
    assert "'" not in PROGRAM
    for text in (scripts.kubelet(CLUSTER), scripts.machine(), scripts.control_plane(CLUSTER.hosts.masters[0])):
        file = tmp_path / "script"
        file.write_text(text)
        assert subprocess.run(["sh", "-n", file], capture_output=True, check=False).stderr == b""
