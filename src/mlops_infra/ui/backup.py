"""How backups, their keys and their verification are shown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mlops_infra.app.backup import Backup
from mlops_infra.app.backup_bundle import Manifest
from mlops_infra.app.backup_key import KeyState
from mlops_infra.app.backup_store import Stored
from mlops_infra.errors import InfraError
from mlops_infra.ui.console import Style
from mlops_infra.ui.errors import as_json
from mlops_infra.ui.report import table

__all__ = [
    "STEPS", "Listed", "backup_shape", "backup_text", "key_shape", "key_text", "list_shape", "list_text",
    "manifest_shape", "manifest_text", "size_text", "versions_text",
]  # fmt: skip

STEPS = {
    "look": "asking the masters which etcd member to take it from",
    "snapshot": "taking the snapshot",
    "check": "checking it, and counting the live keys at its revision",
    "restore": "trial restore into a throw-away etcd",
    "files": "certificates, configuration, versions",
    "fetch": "fetching and encrypting",
    "verify": "opening the bundle and comparing every file",
    "keys": "asking etcd what has come since the snapshot",
    "prepare": "preparing the bare hosts",
    "upload": "sending the snapshot",
    "cluster": "restoring the cluster",
    "etcd": "restoring into a throw-away etcd",
    "api": "starting a throw-away API server over it",
    "objects": "listing what came back",
    "compare": "comparing it with the bundle",
    "up": "what cluster.yaml declares",
    "smoke": "smoke test",
    "doctor": "examining the platform",
}


@dataclass(frozen=True, slots=True)
class Listed:
    """A bundle in the list: its manifest, or why it could not be read."""

    stored: Stored
    manifest: Manifest | None
    problem: InfraError | None = None


def size_text(size: int) -> str:
    amount = float(size)
    for unit in ("B", "KiB", "MiB"):
        if amount < 1024:
            return f"{amount:.0f} {unit}" if unit == "B" else f"{amount:.1f} {unit}"
        amount /= 1024
    return f"{amount:.1f} GiB"


def backup_text(done: Backup, style: Style) -> str:
    """The closing report of `backup etcd`."""
    etcd = done.manifest.etcd
    lines = [
        f"{style.good('backup')}     {done.bundle}  {size_text(done.size)}",
        f"etcd       {etcd['live_keys']} keys at revision {etcd['revision']} from {done.host}, trial restore passed",
        f"time       {done.total:.1f} s ({', '.join(f'{name} {took:.1f}' for name, took in done.seconds.items())})",
    ]
    if not done.manifest.api:
        lines.append(f"{style.note('note:')} the API did not answer: two ConfigMaps of kubeadm are not in it")
    if done.manifest.skipped:
        lines.append(f"{style.note('note:')} not every file below these could be read: {done.manifest.skipped}")
    lines += [f"{style.note('note:')} {note}" for note in done.notes]
    if done.missing:
        lines.append(f"{style.warn('missing:')} the files of {', '.join(done.missing)}, which did not answer")
    if done.removed:
        lines.append(f"removed    {len(done.removed)} old ones: {', '.join(p.name for p in done.removed)}")
    return "\n".join(
        [*lines, "volumes    what pods keep in persistent volumes is not in it", key_text(done.key, style)]
    )


def backup_shape(done: Backup) -> dict[str, Any]:
    return {
        "bundle": str(done.bundle),
        "size": done.size,
        "sha256": done.sha256,
        **manifest_shape(done.manifest, files=False),
        "seconds": done.total,
        "steps": dict(done.seconds),
        "missing": list(done.missing),
        "notes": list(done.notes),
        "removed": [str(p) for p in done.removed],
        "key": key_shape(done.key),
    }


def key_text(key: KeyState, style: Style) -> str:
    """Where the private key is, and what has to be done about it."""
    if key.public is None:
        return f"key        none yet: the first backup makes {key.path}"
    lines = [f"key        {key.path}  (public: {key.public})"]
    if key.others:
        lines.append(f"           {len(key.others)} more in cluster.yaml can open it as well")
    if key.exported:
        lines.append(f"           exported at {key.exported}")
    if not key.is_safe:
        lines.append(
            f"{style.warn('keep it elsewhere:')} without this file nobody opens the backups, and it lies beside them. "
            "`mlops-infra backup key export FILE` makes a copy for another place."
        )
    return "\n".join(lines)


def key_shape(key: KeyState) -> dict[str, Any]:
    return {
        "path": str(key.path),
        "public": key.public,
        "exported": key.exported,
        "recipients": list(key.others),
        "safe": key.is_safe,
    }


def list_text(found: Sequence[Listed], objects: Sequence[Stored], directory: str, style: Style) -> str:
    if not found and not objects:
        return f"No backups in {directory} yet: `mlops-infra backup etcd` makes one."
    rows = [("BUNDLE", "MADE (UTC)", "SIZE", "CLUSTER", "FROM", "KEYS", "REVISION", "")]
    for one in found:
        said = one.manifest
        stored = one.stored
        made = stored.created.strftime("%Y-%m-%d %H:%M:%S")
        etcd = said.etcd if said else {}
        rows.append(
            (
                stored.path.name, made, size_text(stored.size), said.cluster.name if said else stored.cluster,
                said.host if said else "", str(etcd.get("live_keys", "")), str(etcd.get("revision", "")),
                f"cannot be opened: {one.problem.brief.removeprefix(str(stored.path)).strip()}" if one.problem else "",
            )
        )  # fmt: skip
    lines = list(table(rows, style)) if found else []
    if objects:
        saved = [(o.path.name, f"{o.created:%Y-%m-%d %H:%M:%S}", size_text(o.size), o.cluster) for o in objects]
        lines += table([("OBJECTS", "MADE (UTC)", "SIZE", "CLUSTER"), *saved], style)
    return "\n".join([f"in {directory}", *lines])


def list_shape(found: Sequence[Listed], objects: Sequence[Stored], directory: str) -> dict[str, Any]:
    return {
        "directory": directory,
        "backups": [
            {
                "bundle": str(one.stored.path),
                "size": one.stored.size,
                "made": one.stored.created.isoformat(),
                **(manifest_shape(one.manifest, files=False) if one.manifest else {"cluster": one.stored.cluster}),
                **(as_json(one.problem) if one.problem else {}),
            }
            for one in found
        ],
        "objects": [
            {"file": str(o.path), "size": o.size, "made": o.created.isoformat(), "cluster": o.cluster} for o in objects
        ],
    }


def versions_text(versions: Mapping[str, str]) -> str:
    """What programs say of themselves, without the module path and the commit that containerd adds."""
    said = {name: [w for w in text.split() if not w.startswith("github.com/")] for name, text in versions.items()}
    if said.get("kernel"):
        said["kernel"].insert(0, "Linux")
    if "containerd" in said:
        said["containerd"] = said["containerd"][:2]
    return ", ".join(" ".join(words) for words in said.values() if words)


def manifest_text(path: str, manifest: Manifest, style: Style, *, files: bool, verified: bool) -> str:
    etcd = manifest.etcd
    lines = [
        style.strong(path),
        f"cluster    {manifest.cluster.name}  (CA sha256 {manifest.cluster.ca_sha256})",
        f"made       {manifest.created} on {manifest.host} by {manifest.tool}",
        f"etcd       {etcd['version']}: {etcd['live_keys']} keys at revision {etcd['revision']}, hash {etcd['hash']}, "
        f"{size_text(int(etcd['size']))}, trial restore {'passed' if etcd['trial_restore'] else 'not made'}",
        f"versions   {versions_text(manifest.versions)}",
        f"files      {len(manifest.files)}, {size_text(sum(size for size, _ in manifest.files.values()))}",
    ]
    if files:
        lines += [f"  {size:>10}  {name}" for name, (size, _) in sorted(manifest.files.items())]
    ok = style.good("verified: every byte is what was put in")
    return "\n".join([*lines, ok if verified else "not verified (`mlops-infra backup verify` reads all of it)"])


def manifest_shape(manifest: Manifest, *, files: bool = True) -> dict[str, Any]:
    shape: dict[str, Any] = {
        "cluster": manifest.cluster.name,
        "ca_sha256": manifest.cluster.ca_sha256,
        "host": manifest.host,
        "created": manifest.created,
        "tool": manifest.tool,
        "etcd": dict(manifest.etcd),
        "versions": dict(manifest.versions),
        "api": manifest.api,
        "skipped": manifest.skipped,
    }
    if files:
        shape["files"] = [
            {"path": name, "size": size, "sha256": digest} for name, (size, digest) in sorted(manifest.files.items())
        ]
    return shape
