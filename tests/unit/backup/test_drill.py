"""A drill: what is sent, what is compared, and what its words mean."""

from __future__ import annotations

import gzip
import io
import json
import subprocess
import tarfile
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from backup_site import bundle_tar, open_demo, snapshot

from mlops_infra.app.backup import Steps
from mlops_infra.app.backup_drill import DRILL_COMMAND, Drill, expected_counts, run_drill
from mlops_infra.app.backup_key import ensure_key, identities, key_path, recipients
from mlops_infra.app.backup_stream import Encryptor
from mlops_infra.app.context import SiteContext
from mlops_infra.errors import InfraError, UsageError
from mlops_infra.testing import FakeTransport
from mlops_infra.transport.session import Reply

KEYS = b"/registry/namespaces/shop\n/registry/configmaps/shop/a\n/registry/configmaps/shop/b\n/registry/events/shop/e\n"
API = b"    - --service-cluster-ip-range=10.11.0.0/16\n    - --encryption-provider-config=/etc/kubernetes/enc.yaml\n"
FILES = {
    "etcd/keys": KEYS, "etcd/snapshot.db": snapshot(), "hosts/m2/etc/kubernetes/manifests/kube-apiserver.yaml": API,
    "hosts/m2/etc/kubernetes/enc.yaml": b"kind: EncryptionConfiguration",
}  # fmt: skip
NOW = datetime(2026, 1, 2, 4, 4, 5, tzinfo=UTC)


def listed(**counts: int) -> bytes:
    lines = ["# "]
    for kind, count in counts.items():
        items = [{"metadata": {"name": f"{kind}-{i}"}} for i in range(count)]
        lines += [f"@ v1 {kind} true {kind.lower()}s", json.dumps({"items": items})]
    return gzip.compress("\n".join([*lines, "end\n"]).encode())


class Master:
    """Answers as the drill's script does; `sent` is what it was given."""

    def __init__(self) -> None:
        self.said = b"@ etcd\n= keys 333\n= keys_sha256 " + b"0" * 64 + b"\n@ api\n@ objects\n>\n"
        self.said += listed(Namespace=1, ConfigMap=2)
        self.rc = 0
        self.commands: list[str] = []
        self.sent = b""

    def transport(self) -> FakeTransport:
        return FakeTransport({"m3": self._answer(), "m1": self._answer()})

    def _answer(self) -> Callable[[str, bytes], Reply]:
        def answer(command: str, stdin: bytes) -> Reply:
            self.commands.append(command)
            if command != DRILL_COMMAND:
                return Reply(0, b"", "")
            self.sent = stdin
            return Reply(self.rc, self.said, "")

        return answer


@pytest.fixture
def context(tmp_path: Path) -> SiteContext:
    return open_demo(tmp_path)


def drilled(context: SiteContext, master: Master, files: dict[str, bytes] = FILES, **more: Any) -> Drill:
    ensure_key(context.site)
    path = context.site.config.parent / "bundle.tar.age"
    with Encryptor(path, recipients(context.cluster, context.site)) as encryptor:
        encryptor.write(bundle_tar(files))
        encryptor.finish()
    keys = identities([key_path(context.site)])
    return run_drill(context, master.transport(), path, keys, Steps(lambda s: None), now=NOW, **more)


def test_what_came_back_is_compared_with_the_bundle(context: SiteContext) -> None:
    done = drilled(context, Master())
    assert done.ok and done.exit_code == 0
    assert (done.host, done.keys, done.objects) == ("m3", 333, 3)
    assert {(k.kind, k.expected, k.found) for k in done.kinds} == {("Namespace", 1, 1), ("ConfigMap", 2, 2)}
    assert done.age == 3600.0
    assert list(done.seconds) == ["verify", "upload", "etcd", "api", "objects", "compare"]


def test_an_object_that_did_not_come_back_is_a_finding(context: SiteContext) -> None:
    master = Master()
    master.said = master.said.partition(b">\n")[0] + b">\n" + listed(Namespace=1, ConfigMap=1)
    done = drilled(context, master)
    assert (done.ok, done.exit_code) == (False, 2)


def test_other_keys_than_the_bundles_are_a_finding(context: SiteContext) -> None:
    master = Master()
    master.said = master.said.replace(b"0" * 64, b"1" * 64)
    assert drilled(context, master).ok is False


def test_secrets_encrypted_at_rest_are_read_with_the_bundles_own_configuration(context: SiteContext) -> None:
    master = Master()
    drilled(context, master)
    head, _, tar = master.sent.partition(b"\n")
    assert head.startswith(b"/var/lib/mlops-infra/drill.")
    with tarfile.open(fileobj=io.BytesIO(tar)) as opened:
        files = {m.name: opened.extractfile(m).read() for m in opened}  # type: ignore[union-attr]
    assert files["encryption.yaml"] == b"kind: EncryptionConfiguration"
    script = files["run.sh"].decode()
    assert "--service-cluster-ip-range=10.11.0.0/16" in script
    assert "--bind-address=127.0.0.1" in script and "--memory-limit" in script
    for shell in ("dash", "bash"):
        assert subprocess.run([shell, "-n"], input=script.encode(), check=False).returncode == 0


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("no-restore", "cannot be restored"),
        ("no-api", "no API server"),
        ("memory", "too little memory"),
        ("x", "failed"),
    ],
)
def test_what_went_wrong_there_is_told_and_swept(context: SiteContext, kind: str, words: str) -> None:
    master = Master()
    master.said = f"@ etcd\n! {kind} because of this\n".encode()
    master.rc = 3
    with pytest.raises(InfraError, match=words) as refused:
        drilled(context, master)
    assert refused.value.details == "because of this"
    assert "rm -rf" in master.commands[-1]


def test_only_a_master_can_hold_a_drill(context: SiteContext) -> None:
    with pytest.raises(UsageError, match="no master lb-1"):
        drilled(context, Master(), on="lb-1")
    assert drilled(context, Master(), on="m1").host == "m1"


def test_only_kinds_whose_keys_say_it_plainly_are_counted() -> None:
    assert expected_counts(KEYS + b"/registry/services/specs/a/b\n/else\n") == {"Namespace": 1, "ConfigMap": 2}
