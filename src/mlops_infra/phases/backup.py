"""The `backup` phase: a timer on every master that backs the platform up without the workstation."""

from __future__ import annotations

import re
from shlex import quote

from mlops_infra.core import FailurePolicy, Handler, Phase, Resource, Step, StepId
from mlops_infra.model.backup import Place, S3Place, SshPlace
from mlops_infra.model.cluster import Cluster
from mlops_infra.model.hosts import Host
from mlops_infra.operations.etcd_snapshot import snapshot_script
from mlops_infra.phases.context import BackupInputs, PhaseContext
from mlops_infra.phases.host_exporters import TEXTFILES
from mlops_infra.render import render
from mlops_infra.resources import Directory, File, Missing, Packages, UnitState, daemon_reload

__all__ = ["DIRECTORY", "SCRIPT", "UNIT", "backup_phase"]

NAME = "backup"
UNIT = "mlops-infra-backup"
SCRIPT = f"/usr/local/lib/mlops-infra/{UNIT}"
DIRECTORY = "/var/lib/mlops-infra/backups"
_SETTINGS = "/etc/mlops-infra/backup"
_SERVICE = f"/etc/systemd/system/{UNIT}.service"
_TIMER = f"/etc/systemd/system/{UNIT}.timer"
_SECONDS = {"s": 1, "min": 60, "m": 60, "h": 3600, "": 1}
_SLACK = 120
"""Seconds that a master's clock, and its look at what the others did, may be late."""


def backup_phase(cluster: Cluster, context: PhaseContext) -> Phase:
    """On masters alone. Switched off, timer and keys are gone; bundles that were made stay."""
    steps = tuple(
        Step(
            NAME,
            host.name,
            _resources(cluster, host, context.backup) if cluster.backup.schedule.enabled else _gone(),
            needs=frozenset({StepId("control-plane", host.name)}),
        )
        for host in cluster.hosts.masters
    )
    return Phase(NAME, "Scheduled backups", steps, FailurePolicy(0.5))


def _resources(cluster: Cluster, host: Host, given: BackupInputs) -> tuple[Resource, ...]:
    settings = cluster.backup
    reload = (daemon_reload(),)
    packages = {"age": None}
    packages |= {"openssh-client": None} if any(p.ssh for p in settings.copies) else {}
    packages |= {"curl": None} if any(p.s3 for p in settings.copies) else {}
    text = render(
        "backup/scheduled.sh.j2",
        settings=_SETTINGS, directory=DIRECTORY, metrics=TEXTFILES, node=quote(host.name), cluster=quote(cluster.name),
        window=_window(settings.schedule.delay), keep=settings.keep, keep_days=settings.keep_days,
    )  # fmt: skip
    snapshot = snapshot_script(
        node=host.name, address=host.node_address, cluster=cluster.name, tool="mlops-infra, on a master"
    )
    return (
        Packages("backup", packages),
        Directory(DIRECTORY, mode=0o700),
        Directory(_SETTINGS, mode=0o700),
        File(f"{_SETTINGS}/recipients", "".join(f"{r}\n" for r in given.recipients), mode=0o644),
        File(f"{_SETTINGS}/snapshot.sh", snapshot, mode=0o600),
        File(f"{_SETTINGS}/site.tar", given.site, mode=0o600, sensitive=True),
        *(resource for place in settings.copies for resource in _place(place, given)),
        File(SCRIPT, text, mode=0o755),
        File(_SERVICE, render("backup/backup.service.j2", script=SCRIPT), notifies=reload),
        File(
            _TIMER,
            render("backup/backup.timer.j2", calendar=settings.schedule.calendar, delay=settings.schedule.delay),
            check="grep -q '^OnCalendar=' {}",
            notifies=(*reload, Handler(f"restart:{UNIT}.timer", f"systemctl restart {UNIT}.timer\n", order=60)),
        ),
        UnitState(f"{UNIT}.timer", enabled=True, active=True),
    )


def _place(place: Place, given: BackupInputs) -> tuple[Resource, ...]:
    where = f"{_SETTINGS}/places/{place.name}"
    if place.ssh is not None:
        return _ssh(where, place.ssh, given.secrets[f"{place.name}/identity"].reveal())
    if place.s3 is not None:
        keys = [given.secrets[f"{place.name}/{word}"].reveal() for word in ("access-key", "secret-key")]
        return _s3(where, place.s3, keys[0], keys[1], given.texts.get(f"{place.name}/ca"))
    return ()


def _ssh(where: str, place: SshPlace, identity: str) -> tuple[Resource, ...]:
    name = place.address if place.port == 22 else f"[{place.address}]:{place.port}"
    settings = _assignments(
        kind="ssh", address=place.address, port=str(place.port), user=place.user, there=place.directory
    )
    return (
        Directory(where, mode=0o700),
        File(f"{where}/known_hosts", f"{name} {place.host_key}\n", mode=0o600),
        File(f"{where}/key", identity if identity.endswith("\n") else identity + "\n", mode=0o600, sensitive=True),
        File(f"{where}/settings", settings, mode=0o600),
    )


def _s3(where: str, place: S3Place, access: str, secret: str, ca: str | None) -> tuple[Resource, ...]:
    endpoint = (place.endpoint or f"https://s3.{place.region}.amazonaws.com").rstrip("/")
    escaped = f"{access}:{secret}".replace("\\", "\\\\").replace('"', '\\"')
    options = f'user = "{escaped}"\n' + (f'cacert = "{where}/ca.crt"\n' if ca else "")
    return (
        Directory(where, mode=0o700),
        File(f"{where}/curl", options, mode=0o600, sensitive=True),
        *((File(f"{where}/ca.crt", ca),) if ca else ()),
        File(
            f"{where}/settings",
            _assignments(kind="s3", region=place.region, url=f"{endpoint}/{place.bucket}/{place.prefix}"),
            mode=0o600,
        ),
    )


def _assignments(**values: str) -> str:
    return "".join(f"{name}={quote(value)}\n" for name, value in values.items())


def _gone() -> tuple[Resource, ...]:
    stop = Handler(f"stop:{UNIT}", f"systemctl -q disable --now {UNIT}.timer 2>/dev/null || :\n", order=5)
    keys = Handler("backup:keys", f"rm -rf {_SETTINGS}\n", order=6)
    return (
        Missing(_TIMER, notifies=(stop, daemon_reload())),
        Missing(_SERVICE, notifies=(daemon_reload(),)),
        Missing(SCRIPT, notifies=(keys,)),
    )


def _window(delay: str) -> int:
    """Seconds in which two masters' timers may mean the same backup."""
    number, unit = re.fullmatch(r"([0-9]+)(.*)", delay).groups()  # type: ignore[union-attr]
    return int(number) * _SECONDS[unit] + _SLACK
