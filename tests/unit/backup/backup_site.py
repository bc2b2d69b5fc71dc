"""A small site on disk, and a master that answers like the script does."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from collections.abc import Mapping
from pathlib import Path

from mlops_infra.app.context import SiteContext, open_site
from mlops_infra.operations.etcd_snapshot import LOOK_COMMAND
from mlops_infra.testing import FakeTransport
from mlops_infra.transport.errors import TransportError
from mlops_infra.transport.session import Reply

CA = hashlib.sha256(b"the CA").hexdigest()
CLUSTER = """
name: demo
ssh: {user: ops}
hosts:
  lb: [{name: lb-1, address: 10.0.0.9}]
  masters:
    - {name: m1, address: 10.0.0.1}
    - {name: m2, address: 10.0.0.2}
    - {name: m3, address: 10.0.0.3}
"""


def open_demo(tmp_path: Path, more: str = "") -> SiteContext:
    config = tmp_path / "cluster.yaml"
    config.write_text(CLUSTER + more)
    return open_site(config)


def snapshot(pages: int = 400) -> bytes:
    """What etcd writes: pages, and their sha256 behind them."""
    database = b"".join(hashlib.sha256(str(i).encode()).digest() * 16 for i in range(pages))
    return database + hashlib.sha256(database).digest()


def bundle_tar(
    files: Mapping[str, bytes] | None = None, *, cluster: str = "demo", ca: str = CA, **more: object
) -> bytes:
    """The tar that a master sends."""
    files = files if files is not None else {"etcd/snapshot.db": snapshot(), "hosts/m2/etc/kubernetes/pki/ca.key": b"k"}
    manifest = {
        "format": 1, "kind": "mlops-infra backup", "tool": "mlops-infra 0.1.0", "created": "2026-01-02T03:04:05Z",
        "cluster": {"name": cluster, "ca_sha256": ca}, "host": "m2",
        "etcd": {"version": "3.5.15", "revision": 812, "hash": 17, "total_keys": 900, "live_keys": 333,
                 "keys_sha256": "0" * 64, "size": 9, "trial_restore": True},
        "api": True, "skipped": "", "versions": {"kubelet": "Kubernetes v1.31.4"},
        "files": [{"path": p, "size": len(c), "mode": "600", "sha256": hashlib.sha256(c).hexdigest()}
                  for p, c in files.items()],
        **more,
    }  # fmt: skip
    return tar_of({"manifest.json": json.dumps(manifest).encode(), **files})


def manifest_of(tar: bytes) -> bytes:
    with tarfile.open(fileobj=io.BytesIO(tar)) as opened:
        source = opened.extractfile("manifest.json")
        assert source is not None
        return source.read()


def tar_of(files: Mapping[str, bytes]) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        for path, content in files.items():
            entry = tarfile.TarInfo(path)
            entry.size = len(content)
            tar.addfile(entry, io.BytesIO(content))
    return out.getvalue()


def status(member: int, leader: int = 1, index: int = 1000, errors: tuple[str, ...] = (), cluster: int = 7) -> bytes:
    """`etcdctl endpoint status -w json`."""
    header = {"member_id": member, "cluster_id": cluster, "revision": 5}
    said = {"header": header, "version": "3.5.15", "dbSize": 4096, "leader": leader,
            "raftIndex": index, **({"errors": list(errors)} if errors else {})}  # fmt: skip
    return json.dumps([{"Endpoint": "x", "Status": said}]).encode()


class Hosts:
    """m1 leads, m2 and m3 follow; `sends` is what a master answers to the request for a backup."""

    def __init__(self) -> None:
        self.sends = b"@ snapshot\n@ check\n@ restore\n@ files\n@ fetch\n>\n" + bundle_tar()
        self.rc = 0
        self.looks = {"m1": status(1), "m2": status(2), "m3": status(3)}
        self.lb = tar_of({"etc/haproxy/haproxy.cfg": b"frontend"})
        self.unreachable: dict[str, TransportError] = {}
        self.error: TransportError | None = None
        self.asked: list[tuple[str, bytes]] = []

    def transport(self) -> FakeTransport:
        return FakeTransport(
            {name: self._answers(name) for name in ("m1", "m2", "m3", "lb-1")}, unreachable=self.unreachable
        )

    def _answers(self, name: str):  # type: ignore[no-untyped-def]
        def answer(command: str, stdin: bytes) -> Reply | TransportError:
            if command == LOOK_COMMAND:
                return Reply(0, self.lb if name == "lb-1" else self.looks[name], "")
            self.asked.append((name, stdin))
            return self.error or Reply(self.rc, self.sends, "")

        return answer
