"""`backup drill`: the newest bundle restored for real, away from what serves, and what came back compared with it."""

from __future__ import annotations

import gzip
import hashlib
import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from shlex import quote
from typing import Any

from mlops_infra.app.backup import Steps
from mlops_infra.app.backup_bundle import KEYS, SNAPSHOT, Manifest, extract, identity_of, verify
from mlops_infra.app.backup_objects import parse_dump
from mlops_infra.app.backup_upload import upload
from mlops_infra.app.context import SiteContext
from mlops_infra.app.ending import ended_by_sigterm
from mlops_infra.app.reach import targets
from mlops_infra.errors import ExitCode, InfraError, UsageError
from mlops_infra.operations.etcd_snapshot import SnapshotReader
from mlops_infra.operations.packed import tar_of
from mlops_infra.render import render
from mlops_infra.transport import Transport
from mlops_infra.transport.errors import explain

__all__ = ["Compared", "Drill", "expected_counts", "run_drill"]

DEADLINE = 1800.0
DRILL_COMMAND = (
    'umask 077; read -r dir; mkdir -p "$dir" && tar -C "$dir" -xf - || exit 1; exec sh "$dir/run.sh" "$dir" </dev/null'
)
# Kinds whose keys say plainly how many there are: one prefix, one object a key.
_COUNTED: Mapping[str, str] = {
    "namespaces": "Namespace", "configmaps": "ConfigMap", "secrets": "Secret", "serviceaccounts": "ServiceAccount",
    "pods": "Pod", "deployments": "Deployment", "daemonsets": "DaemonSet", "statefulsets": "StatefulSet",
    "persistentvolumes": "PersistentVolume", "persistentvolumeclaims": "PersistentVolumeClaim", "jobs": "Job",
    "cronjobs": "CronJob", "ingress": "Ingress", "minions": "Node",
    "apiextensions.k8s.io/customresourcedefinitions": "CustomResourceDefinition",
    "clusterroles": "ClusterRole", "rolebindings": "RoleBinding",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Compared:
    """How many of a kind the bundle has, and how many the restored API listed."""

    kind: str
    expected: int
    found: int

    @property
    def ok(self) -> bool:
        # An API server makes some of its own when it starts.
        return self.found >= self.expected


@dataclass(frozen=True, slots=True)
class Drill:
    """How a drill went. `age`: seconds between the snapshot and now, what a restore would lose at the most."""

    bundle: Path
    manifest: Manifest
    host: str
    keys_same: bool
    keys: int
    objects: int
    kinds: tuple[Compared, ...]
    failed: tuple[str, ...]
    age: float
    seconds: Mapping[str, float]
    total: float

    @property
    def ok(self) -> bool:
        return self.keys_same and not self.failed and all(k.ok for k in self.kinds)

    @property
    def exit_code(self) -> ExitCode:
        return ExitCode.DONE if self.ok else ExitCode.CHANGES


def run_drill(
    context: SiteContext,
    transport: Transport,
    path: Path,
    keys: Sequence[Any],
    steps: Steps,
    *,
    on: str | None = None,
    now: datetime | None = None,
) -> Drill:
    """On the last master, or `on`. Nothing that serves is touched; nothing stays there.

    Raises BundleError for a bundle that is not good, InfraError where it could not be restored: then it is none.
    """
    cluster, begun = context.cluster, time.monotonic()
    masters = [h.name for h in cluster.hosts.masters]
    if on is not None and on not in masters:
        raise UsageError(f"there is no master {on}", remedy=f"There are {', '.join(masters)}: drills use their images.")
    host = on or masters[-1]
    with ended_by_sigterm():
        steps.begin("verify")
        manifest = verify(path, keys, identity_of(cluster, context.site))
        listed = extract(path, keys, lambda name: name == KEYS or name.startswith("hosts/"))
        steps.begin("upload")
        session = transport.connect(targets(cluster, context.site.config.parent)[host])
        directory = f"/var/lib/mlops-infra/drill.{hashlib.sha256(str(begun).encode()).hexdigest()[:12]}"
        try:
            upload(path, keys, {host: session}, directory=directory, bundle="drill", commit=_IN_PLACE)
            packed = bytearray()
            reader = SnapshotReader(host, steps.begin, packed.extend, _trouble)
            payload = _payload(listed, manifest, directory)
            reply = session.exchange(DRILL_COMMAND, payload, deadline=DEADLINE, sink=reader.give)
            if reply.rc != 0:
                raise explain(reply, host) or _trouble(host, "", reply.stderr[-600:])
        except BaseException:
            _sweep(session, directory)
            raise
        steps.begin("compare")
        dump = parse_dump(gzip.decompress(bytes(packed)).decode("utf-8"))
        steps.begin("")
    found: dict[str, int] = {}
    for one in dump.objects:
        found[one.reference.kind] = found.get(one.reference.kind, 0) + 1
    expected = expected_counts(listed.get(KEYS, b""))
    created = datetime.strptime(manifest.created, "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC)
    return Drill(
        path, manifest, host, reader.notes.get("keys_sha256") == manifest.etcd["keys_sha256"],
        int(reader.notes.get("keys", 0)), len(dump.objects),
        tuple(Compared(kind, count, found.get(kind, 0)) for kind, count in sorted(expected.items())),
        dump.failed, ((now or datetime.now(UTC)) - created).total_seconds(), dict(steps.seconds),
        round(time.monotonic() - begun, 1),
    )  # fmt: skip


_IN_PLACE = (
    'read -r dir sum bundle; cd "$dir" || exit 1; '
    '[ "$(sha256sum snapshot.part | cut -d " " -f 1)" = "$sum" ] || exit 3; '
    "mv -f snapshot.part snapshot.db"
)
_SWEEP = 'read -r dir; case $dir in /var/lib/mlops-infra/drill.*) rm -rf "$dir" ;; esac'


def _sweep(session: Any, directory: str) -> None:
    try:
        session.exchange(_SWEEP, f"{directory}\n".encode(), deadline=20)
    except (InfraError, OSError):
        return  # the next drill there removes it


def expected_counts(keys: bytes) -> dict[str, int]:
    """By kind, from the keys of a bundle; only kinds whose keys say it plainly."""
    counts: dict[str, int] = {}
    for line in keys.decode("utf-8", "replace").splitlines():
        rest = line.removeprefix("/registry/")
        prefix = next((p for p in _COUNTED if rest.startswith(f"{p}/")), None)
        if prefix is not None and line.startswith("/registry/"):
            counts[_COUNTED[prefix]] = counts.get(_COUNTED[prefix], 0) + 1
    return counts


def _payload(listed: Mapping[str, bytes], manifest: Manifest, directory: str) -> bytes:
    """The first line names the directory; then a tar with the script and, where Secrets are encrypted, how."""
    api = next((c.decode() for n, c in listed.items() if n.endswith("/manifests/kube-apiserver.yaml")), "")
    services = re.search(r"--service-cluster-ip-range=(\S+)", api)
    encryption = re.search(r"--encryption-provider-config=(\S+)", api)
    script = render(
        "backup/drill.sh.j2",
        etcd_image="''",
        sha256=manifest.files[SNAPSHOT][1],
        services=quote(services[1] if services else "10.96.0.0/12"),
    )
    files = {"run.sh": script.encode()}
    if encryption is not None:
        content = next((c for n, c in listed.items() if n.endswith(encryption[1])), None)
        if content is not None:
            files["encryption.yaml"] = content
    return f"{directory}\n".encode() + tar_of(files)


_WORDS: Mapping[str, tuple[str, str, str]] = {
    "busy": ("another drill is at work there", "A second person, or a timer.", "Wait for it."),
    "space": ("there is too little space for a drill", "Its disk has filled up.", "backup drill --on another master"),
    "memory": (
        "there is too little memory for a drill",
        "It would take it from what serves.",
        "backup drill --on another master, or when less runs there",
    ),
    "no-images": ("no drill can be made there", "It has no control plane.", "backup drill --on another master"),
    "differs": ("what arrived there is not the bundle's snapshot", "Its disk or memory is at fault.", "dmesg there"),
    "no-restore": (
        "this bundle cannot be restored",
        "Its snapshot is damaged, or the host's etcd is of another version.",
        "mlops-infra backup etcd   makes a new one; drill that",
    ),
    "no-api": (
        "no API server comes up over the restored data",
        "The data, or how it is encrypted, does not fit this version of Kubernetes.",
        "mlops-infra backup show   says which version the bundle is of",
    ),
}


def _trouble(host: str, kind: str, text: str) -> InfraError:
    brief, cause, remedy = _WORDS.get(kind, ("the drill failed there", "Its script ended early.", "backup drill again"))
    return InfraError(brief, host=host, details=text, cause=cause, remedy=remedy)
