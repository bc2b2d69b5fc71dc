"""The alerts that ship, as files for Prometheus: those that this cluster has the metrics for, and the user's own."""

from __future__ import annotations

import re
from collections.abc import Mapping

from mlops_infra.model.cluster import Cluster
from mlops_infra.model.monitoring import seconds_of
from mlops_infra.render import plain_templates

__all__ = ["alert_rules", "with_delay"]

_FOR = re.compile(r"^(\s+for: )(\S+)$", re.MULTILINE)
_ALWAYS = ("nodes", "workloads", "control-plane", "platform")


def alert_rules(cluster: Cluster, own: Mapping[str, str]) -> dict[str, str]:
    """File names and texts. `own`: the user's files, taken as they are."""
    shipped = plain_templates("monitoring/rules", ".yaml")
    wanted = [*_ALWAYS]
    wanted += ["etcd", "exposed"] if cluster.security.expose_metrics else []
    wanted += ["haproxy"] if cluster.hosts.lb else []
    wanted += {"nginx": ["ingress"], "traefik": ["ingress-traefik"], "none": []}[cluster.ingress.controller]
    wanted += ["metallb"] if cluster.metallb.enabled else []
    delay = cluster.monitoring.alert_delay
    files = {f"{name}.yaml": with_delay(shipped[name], delay) for name in wanted}
    files["settings.yaml"] = _settings(cluster)
    return files | {f"own-{name}": text for name, text in own.items()}


def with_delay(text: str, share: float) -> str:
    """The rules with that share of their waiting times; expressions and all else stay as they ship."""
    if share == 1:
        return text
    return _FOR.sub(lambda found: f"{found[1]}{max(round(seconds_of(found[2]) * share), 1)}s", text)


def _settings(cluster: Cluster) -> str:
    """Numbers of cluster.yaml as series, so that expressions are the same everywhere."""
    seconds = seconds_of(cluster.monitoring.backup_max_age)
    return (
        "# Settings of cluster.yaml that rules compare with.\n"
        "groups:\n  - name: settings\n    rules:\n"
        f"      - record: mlops_infra:backup_max_age:seconds\n        expr: vector({seconds})\n"
    )
