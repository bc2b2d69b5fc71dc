"""The `monitoring` phase: Prometheus, Alertmanager, Grafana, and the exporters in the cluster.

Those on load balancers and masters are part of the phases `lb` and `masters`, whose exchanges they share.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping
from typing import Any

from mlops_infra.core import API, Phase, Shell, StepId
from mlops_infra.model.cluster import Cluster
from mlops_infra.phases.addons import addon_phase, installed
from mlops_infra.phases.alertmanager import alertmanager_config, alertmanager_image, alertmanager_objects
from mlops_infra.phases.context import PhaseContext
from mlops_infra.phases.exporters import exporter_images, kube_state_metrics_objects, node_exporter_objects
from mlops_infra.phases.grafana import grafana_image, grafana_objects
from mlops_infra.phases.host_exporters import is_wanted
from mlops_infra.phases.objects import namespace
from mlops_infra.phases.prometheus import NAMESPACE, prometheus_image, prometheus_objects
from mlops_infra.render import render
from mlops_infra.resources import kubectl_prelude

__all__ = ["monitoring_images", "monitoring_objects", "monitoring_phase"]

NAME = "monitoring"
_TITLE = "Monitoring"


def monitoring_phase(cluster: Cluster, context: PhaseContext) -> Phase:
    """Without workers nothing is installed, as where it is switched off: only what was installed earlier goes."""
    objects = monitoring_objects(cluster, context) if is_wanted(cluster) else ()
    before = _own_rules_checked(context.monitoring.rules) if objects else ()
    resources = installed(_TITLE, objects, inventory=NAME, before=before)
    # Prometheus is ready when its volume is there.
    needs = frozenset({StepId("storage", API)}) if objects and cluster.storage.is_ours else frozenset()
    return addon_phase(cluster, context, name=NAME, title=_TITLE, resources=resources, needs=needs)


def monitoring_images(cluster: Cluster) -> tuple[str, ...]:
    return (
        prometheus_image(cluster), alertmanager_image(cluster), grafana_image(cluster), *exporter_images(cluster)
    )  # fmt: skip


def monitoring_objects(cluster: Cluster, context: PhaseContext) -> tuple[dict[str, Any], ...]:
    given = context.monitoring
    return (
        namespace(NAMESPACE, privileged=True),
        *node_exporter_objects(cluster),
        *kube_state_metrics_objects(cluster),
        *prometheus_objects(cluster, given.rules),
        *alertmanager_objects(
            cluster, given.secrets, mark=_mark(context, alertmanager_config(cluster, given.secrets))
        ),
        *grafana_objects(
            cluster,
            given.grafana_password,
            given.dashboards,
            mark=_mark(context, f"{cluster.monitoring.grafana.user}:{given.grafana_password.reveal()}"),
        ),
    )  # fmt: skip


def _own_rules_checked(rules: Mapping[str, str]) -> tuple[Shell, ...]:
    """Before anything is applied: a mistake in a file of the user's must not end a Prometheus that runs."""
    if not rules:
        return ()
    script = kubectl_prelude() + render("monitoring/check-rules.sh.j2", namespace=NAMESPACE)
    files = b"".join(f"{len(text.encode())} {name}\n".encode() + text.encode() for name, text in rules.items())
    return (Shell("have Prometheus read your rules", script, 60, files),)


def _mark(context: PhaseContext, secret: str) -> str:
    """Another one when the secret changes. Whoever may read pods reads it, so it is keyed by another secret: a weak
    password cannot be found by trying."""
    key = context.stats_password.reveal().encode()
    return hmac.new(key, secret.encode(), hashlib.sha256).hexdigest()[:16]
