"""`backup resources`: all Kubernetes objects as a tree of files, encrypted; and back: one, a namespace, or all."""

from __future__ import annotations

import difflib
import gzip
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from shlex import quote
from typing import Any

from mlops_infra import __version__
from mlops_infra.app.backup import publish
from mlops_infra.app.backup_bundle import BundleError, Identity, extract, identity_of
from mlops_infra.app.backup_key import ensure_key, recipients
from mlops_infra.app.backup_objects import Dump, Kept, Reference, parse_dump, path_of, yaml_of
from mlops_infra.app.backup_store import OBJECTS, directory_of, staged
from mlops_infra.app.backup_stream import Encryptor
from mlops_infra.app.context import SiteContext
from mlops_infra.app.reach import targets
from mlops_infra.core import https_url
from mlops_infra.errors import InfraError, UnreachableError, UsageError
from mlops_infra.model.hosts import MASTER_PORT, Host
from mlops_infra.operations.etcd_snapshot import LOOK_COMMAND
from mlops_infra.operations.packed import tar_of
from mlops_infra.render import render
from mlops_infra.transport import Session, Transport
from mlops_infra.transport.errors import explain

__all__ = ["Difference", "Saved", "Wanted", "differences", "put_back", "read_objects", "save", "write_tree"]

_DEADLINE = 900.0
_MANIFEST = "manifest.json"
APPLY_COMMAND = 'umask 077; read -r server verb; exec kubectl --kubeconfig /etc/kubernetes/admin.conf --server "$server" "$verb" --field-manager=mlops-infra-restore -f -'  # noqa: E501
"""Its first line of input names the API server and `create` or `replace`; the rest are objects, as JSON."""


@dataclass(frozen=True, slots=True)
class Saved:
    """A tree that was saved. `counts` by kind; `failed`: kinds that could not be listed."""

    path: Path
    size: int
    objects: int
    derived: int
    counts: Mapping[str, int]
    failed: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is to be put back: everything, these namespaces, or these objects (`ns/Kind/name` or `Kind/name`)."""

    namespaces: frozenset[str] = frozenset()
    objects: frozenset[str] = frozenset()

    def takes(self, one: Kept) -> bool:
        ref = one.reference
        if not self.namespaces and not self.objects:
            return not one.derived
        if str(ref) in self.objects or self._short(ref) in self.objects:
            return True
        inside = ref.namespace in self.namespaces or (ref.kind == "Namespace" and ref.name in self.namespaces)
        return inside and not one.derived

    @staticmethod
    def _short(ref: Reference) -> str:
        return f"{ref.namespace + '/' if ref.namespace else ''}{ref.kind}/{ref.name}"


@dataclass(frozen=True, slots=True)
class Difference:
    """An object that is not as it was saved. `lines` as `diff -u` has them, without values of Secrets."""

    kept: Kept
    missing: bool
    lines: tuple[str, ...] = field(repr=False)


def save(
    context: SiteContext,
    transport: Transport,
    *,
    tree: Path | None = None,
    now: datetime | None = None,
    tell: Callable[[str], None] = lambda step: None,
) -> Saved:
    """Lists everything through the first master that answers, and keeps it encrypted.

    `tree`: a directory that gets the files as well, in plain, without Secrets. Raises InfraError.
    """
    cluster, site = context.cluster, context.site
    tell("objects")
    host, _, dump = fetch(context, transport)
    ensure_key(site)
    directory = directory_of(cluster, site)
    when = now or datetime.now(UTC)
    with staged(directory) as part:
        with Encryptor(part, recipients(cluster, site)) as encryptor:
            encryptor.write(_packed(dump, cluster.name, host.name, when))
            encryptor.finish()
        path = publish(part, directory, cluster.name, when, OBJECTS)
    if tree is not None:
        write_tree(dump.objects, tree)
    counts: dict[str, int] = {}
    for one in dump.objects:
        counts[one.reference.kind] = counts.get(one.reference.kind, 0) + 1
    derived = sum(one.derived for one in dump.objects)
    return Saved(path, path.stat().st_size, len(dump.objects) - derived, derived, counts, dump.failed)


def fetch(context: SiteContext, transport: Transport) -> tuple[Host, Session, Dump]:
    """What the API holds now. Raises UnreachableError when no API server answers."""
    reached = targets(context.cluster, context.site.config.parent)
    told = []
    for host in context.cluster.hosts.masters:
        try:
            session = transport.connect(reached[host.name])
            pieces = bytearray()
            script = render("backup/objects.sh.j2", server=quote(_server(host))).encode()
            reply = session.exchange(LOOK_COMMAND, script, deadline=_DEADLINE, sink=pieces.extend)
            if reply.rc == 0:
                return host, session, parse_dump(gzip.decompress(bytes(pieces)).decode("utf-8"))
            told.append(f"{host.name}: {'its API server does not answer' if reply.rc == 4 else reply.stderr[-200:]}")
        except (InfraError, OSError, EOFError) as error:
            told.append(f"{host.name}: {error.brief if isinstance(error, InfraError) else 'its answer is cut'}")
    raise UnreachableError(
        "no API server could list the objects",
        details="\n".join(told),
        cause="The control plane is down, or its masters cannot be reached.",
        remedy="mlops-infra status   (`backup etcd` works without the API)",
    )


def _server(host: Host) -> str:
    return https_url(host.node_address, MASTER_PORT)


def _packed(dump: Dump, cluster: str, host: str, now: datetime) -> bytes:
    """The tar: a manifest, then a file an object."""
    manifest = {
        "format": 1,
        "kind": "mlops-infra objects",
        "tool": f"mlops-infra {__version__}",
        "created": now.strftime("%Y-%m-%dT%H:%M:%SZ"),
        "cluster": {"name": cluster, "ca_sha256": dump.ca_sha256},
        "host": host,
        "objects": [{**_fields(one.reference), "derived": one.derived, "path": path_of(one)} for one in dump.objects],
        "failed": list(dump.failed),
    }
    files = {path_of(one): yaml_of(one) for one in dump.objects}
    return tar_of({_MANIFEST: json.dumps(manifest).encode(), **files}, mtime=int(now.timestamp()))


def _fields(ref: Reference) -> dict[str, str]:
    return {"namespace": ref.namespace, "group": ref.group, "kind": ref.kind, "name": ref.name}


def write_tree(objects: Iterable[Kept], directory: Path) -> None:
    """The files in plain, for `kubectl apply -R -f DIRECTORY/objects`; Secrets are left out: they only lie encrypted.

    Raises UsageError when the directory is there and not empty, InfraError when it cannot be written.
    """
    if directory.exists() and (not directory.is_dir() or any(directory.iterdir())):
        raise UsageError(f"{directory} is not empty", remedy="Name a directory that does not exist yet.")
    try:
        for one in objects:
            if one.reference.kind != "Secret":
                target = directory / path_of(one)
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_bytes(yaml_of(one))
    except OSError as error:
        raise InfraError(f"{directory} cannot be written: {error.strerror}", remedy="Make room there.") from error


def read_objects(path: Path, identities: Sequence[Any], context: SiteContext | None) -> tuple[Kept, ...]:
    """What a file of `save` holds. Raises BundleError for a damaged one, or one of another cluster."""
    from mlops_infra.render import parse_documents  # noqa: PLC0415

    found = extract(path, identities, lambda name: True)
    try:
        manifest = json.loads(found[_MANIFEST])
        if manifest["kind"] != "mlops-infra objects" or manifest["format"] != 1:
            raise KeyError("kind")
        entries = [(Reference(e["namespace"], e["group"], e["kind"], e["name"]), e) for e in manifest["objects"]]
        cluster = Identity(manifest["cluster"]["name"], manifest["cluster"]["ca_sha256"])
    except (KeyError, ValueError, TypeError) as error:
        raise BundleError(
            f"{path} is no file of `backup resources`",
            cause="It is a bundle of etcd, or something else.",
            remedy="mlops-infra backup restore is for bundles of etcd; `backup resources` makes files that end in "
            f"{OBJECTS}.",
        ) from error
    mine = identity_of(context.cluster, context.site) if context is not None else None
    if mine is not None and (cluster.name != mine.name or mine.ca_sha256 not in (None, cluster.ca_sha256)):
        raise BundleError(
            f"{path} is of another cluster: {cluster.name}",
            cause="Its name or its CA is not this cluster's.",
            remedy="To take objects from it all the same: --any-cluster",
        )
    return tuple(Kept(ref, parse_documents(found[e["path"]].decode())[0], bool(e["derived"])) for ref, e in entries)


def differences(kept: Iterable[Kept], now: Iterable[Kept]) -> tuple[Difference, ...]:
    """What is not as it was saved. Objects that came since are not touched, and not told."""
    there = {one.reference: one for one in now}
    found = []
    for one in kept:
        live = there.get(one.reference)
        before, after = _shown(live) if live else [], _shown(one)
        if live is None or _plain(live) != _plain(one):
            lines = list(difflib.unified_diff(before, after, "now", "saved", lineterm="", n=2))[2:]
            found.append(Difference(one, live is None, tuple(lines)))
    return tuple(found)


def _plain(one: Kept) -> Any:
    return json.loads(json.dumps(one.content, default=str))


def _shown(one: Kept) -> list[str]:
    """As lines; of Secrets only which keys there are and whether they differ, by their length."""
    content = dict(one.content)
    if one.reference.kind == "Secret":
        for part in ("data", "stringData"):
            if isinstance(content.get(part), Mapping):
                content[part] = {key: f"({len(str(value))} characters)" for key, value in content[part].items()}
    return yaml_of(Kept(one.reference, content)).decode().splitlines()


def put_back(
    context: SiteContext, transport: Transport, found: Sequence[Difference], tell: Callable[[str], None]
) -> tuple[Difference, ...]:
    """Makes what is missing, replaces what differs; types and namespaces first. What still differs afterwards.

    Raises InfraError with what the API server said, when nothing could be made.
    """
    host, session, _ = fetch(context, transport)
    said: list[str] = []
    for number in (0, 1, 2):
        for verb, missing in (("create", True), ("replace", False)):
            chosen = [d.kept for d in found if d.missing is missing and _stage(d.kept) == number]
            if not chosen:
                continue
            tell(f"{verb} {len(chosen)}")
            documents = "\n".join(json.dumps(one.content, default=str) for one in chosen)
            stdin = f"{_server(host)} {verb}\n{documents}\n".encode()
            reply = session.exchange(APPLY_COMMAND, stdin, deadline=_DEADLINE)
            if reply.rc != 0:
                said.append(reply.stderr[-1500:])
                if explained := explain(reply, host.name):
                    raise explained
    left = differences([d.kept for d in found], fetch(context, transport)[2].objects)
    if left and len(left) == len(found):
        raise InfraError(
            "nothing could be put back",
            host=host.name,
            details="\n".join(said),
            cause="The API server refuses these objects as they were saved.",
            remedy="Read its words above; a tree (`backup resources --tree DIR`) can be edited and applied by hand.",
        )
    return left


def _stage(one: Kept) -> int:
    path = path_of(one)
    return 0 if "/0-types/" in path else 1 if "/1-cluster/" in path else 2
