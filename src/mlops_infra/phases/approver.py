"""The approver: a timer on the masters that signs off the kubelets' serving certificates, after checking each."""

from __future__ import annotations

from mlops_infra.core import Handler, Resource
from mlops_infra.model.cluster import Cluster
from mlops_infra.render import render
from mlops_infra.resources import File, Missing, UnitState, daemon_reload

__all__ = ["approver_resources"]

_UNIT = "mlops-infra-approver"
_SCRIPT = f"/usr/local/lib/mlops-infra/{_UNIT}"
_SERVICE = f"/etc/systemd/system/{_UNIT}.service"
_TIMER = f"/etc/systemd/system/{_UNIT}.timer"


def approver_resources(cluster: Cluster) -> tuple[Resource, ...]:
    """What it takes on one master; where it is switched off, what must be gone."""
    if not cluster.security.approve_kubelet_certificates:
        gone = Handler(f"stop:{_UNIT}", f"systemctl -q disable --now {_UNIT}.timer 2>/dev/null || :\n", order=5)
        return (
            Missing(_TIMER, notifies=(gone, daemon_reload())),
            Missing(_SERVICE, notifies=(daemon_reload(),)),
            Missing(_SCRIPT),
        )
    return (
        File(_SCRIPT, render("approver/approve.sh.j2"), mode=0o755),
        File(_SERVICE, render("approver/approver.service.j2", script=_SCRIPT), notifies=(daemon_reload(),)),
        File(_TIMER, render("approver/approver.timer.j2"), notifies=(daemon_reload(),)),
        UnitState(f"{_UNIT}.timer", enabled=True, active=True),
    )
