"""Who measures on hosts that no DaemonSet reaches, and what only a master knows."""

from __future__ import annotations

from mlops_infra.core import Handler, Resource
from mlops_infra.model.cluster import Cluster
from mlops_infra.render import render
from mlops_infra.resources import Directory, File, Missing, Packages, UnitState, daemon_reload, restart_unit

__all__ = ["TEXTFILES", "balancer_exporter", "is_wanted", "master_exporter"]

TEXTFILES = "/var/lib/prometheus/node-exporter"
"""What lies here (*.prom), node-exporter tells on: ends of certificates, the time of the last backup. Where Debian's
package looks as well; not below /var/lib/mlops-infra, which is root's alone."""
_UNIT = "prometheus-node-exporter.service"
_DROP_IN = f"/etc/systemd/system/{_UNIT}.d/mlops-infra.conf"
_CERTIFICATES = "mlops-infra-certificates"
_CERTIFICATES_SCRIPT = f"/usr/local/lib/mlops-infra/{_CERTIFICATES}"


def is_wanted(cluster: Cluster) -> bool:
    """Its pods need workers."""
    return cluster.monitoring.enabled and bool(cluster.hosts.workers)


def balancer_exporter(cluster: Cluster) -> tuple[Resource, ...]:
    """On a load balancer, which no DaemonSet reaches, the distribution's package; switched off, it is stopped."""
    if not is_wanted(cluster):
        stop = Handler(f"stop:{_UNIT}", f"systemctl -q disable --now {_UNIT} 2>/dev/null || :\n", order=5)
        return (Missing(_DROP_IN, notifies=(stop, daemon_reload())),)
    text = "# Written by mlops-infra.\n[Service]\nRestart=always\nRestartSec=5\n"
    return (
        File(_DROP_IN, text, notifies=(daemon_reload(), restart_unit(_UNIT))),
        Packages("node-exporter", {"prometheus-node-exporter": None}),
        UnitState(_UNIT, enabled=True, active=True),
    )


def master_exporter(cluster: Cluster) -> tuple[Resource, ...]:
    """On a master: when its certificates end, once an hour. Switched off, it is gone."""
    service, timer = (f"/etc/systemd/system/{_CERTIFICATES}.{kind}" for kind in ("service", "timer"))
    if not is_wanted(cluster):
        stop = Handler(
            f"stop:{_CERTIFICATES}", f"systemctl -q disable --now {_CERTIFICATES}.timer 2>/dev/null || :\n", order=5
        )
        return (
            Missing(timer, notifies=(stop, daemon_reload())),
            Missing(service, notifies=(daemon_reload(),)),
            Missing(_CERTIFICATES_SCRIPT),
        )
    return (
        # Readable for an exporter that is not root.
        Directory(TEXTFILES, mode=0o755),
        File(_CERTIFICATES_SCRIPT, render("monitoring/certificates.sh.j2", directory=TEXTFILES), mode=0o755),
        File(
            service,
            render("monitoring/certificates.service.j2", script=_CERTIFICATES_SCRIPT),
            notifies=(daemon_reload(),),
        ),
        File(timer, render("monitoring/certificates.timer.j2"), notifies=(daemon_reload(),)),
        UnitState(f"{_CERTIFICATES}.timer", enabled=True, active=True),
    )
