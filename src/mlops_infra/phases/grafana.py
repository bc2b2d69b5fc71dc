"""Grafana: its data source and dashboards from files, so that its pod holds nothing that must not be lost."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mlops_infra.core import Secret
from mlops_infra.model.cluster import Cluster
from mlops_infra.phases.addons import moves_soon
from mlops_infra.phases.alertmanager import opaque
from mlops_infra.phases.boards import DASHBOARDS
from mlops_infra.phases.dashboards import board_json
from mlops_infra.phases.objects import config_map, container, deployment, digest, pod_security, port, service
from mlops_infra.phases.prometheus import NAMESPACE, apart_from_others, balanced
from mlops_infra.render import to_yaml

__all__ = [
    "GRAFANA",
    "PASSWORD_KEY",
    "PASSWORD_SECRET",
    "dashboards",
    "grafana_image",
    "grafana_objects",
    "provisioning",
]

GRAFANA = "grafana"
PASSWORD_SECRET = "grafana-admin"  # noqa: S105 - the name of an object
PASSWORD_KEY = "admin-password"  # noqa: S105 - of a key in it
_USER = 472
"""As in Grafana's own image."""
_SETTINGS = {
    "GF_AUTH_ANONYMOUS_ENABLED": "false",
    "GF_USERS_ALLOW_SIGN_UP": "false",
    "GF_SECURITY_DISABLE_GRAVATAR": "true",
    "GF_SECURITY_COOKIE_SAMESITE": "strict",
    "GF_ANALYTICS_REPORTING_ENABLED": "false",
    "GF_ANALYTICS_CHECK_FOR_UPDATES": "false",
    "GF_ANALYTICS_CHECK_FOR_PLUGIN_UPDATES": "false",
    "GF_NEWS_NEWS_FEED_ENABLED": "false",
}


def grafana_image(cluster: Cluster) -> str:
    return f"docker.io/grafana/grafana:{cluster.versions.grafana}"


def grafana_objects(
    cluster: Cluster, password: Secret, own: Mapping[str, str], *, mark: str
) -> tuple[dict[str, Any], ...]:
    """`own`: the user's dashboards, by file name. `mark` is another one when the password changes.

    The variable with the password counts at Grafana's first start only: its database lives as long as its pod, so that
    a new password makes a new pod, and every start is a first one.
    """
    settings = cluster.monitoring.grafana
    files, shown = provisioning(), dashboards(own)
    return (
        opaque(PASSWORD_SECRET, {"admin-user": settings.user, PASSWORD_KEY: password.reveal()}),
        config_map("grafana-provisioning", NAMESPACE, files),
        config_map("grafana-dashboards", NAMESPACE, shown),
        _deployment(cluster, {"mlops-infra/password": mark, "mlops-infra/config": digest(*files.values())}),
        service(
            GRAFANA, NAMESPACE, GRAFANA, (port("web", 3000, nodePort=settings.node_port),), type="NodePort"
        ),
        balanced(cluster, "grafana-lb", GRAFANA, 3000),
    )  # fmt: skip


def dashboards(own: Mapping[str, str]) -> dict[str, str]:
    """The files, ours and the user's."""
    return {f"{board.name}.json": board_json(board) for board in DASHBOARDS} | {f"own-{n}": t for n, t in own.items()}


def provisioning() -> dict[str, str]:
    """Files as https://grafana.com/docs/grafana/latest/administration/provisioning/ describes them."""
    source = {
        "name": "Prometheus",
        "uid": "prometheus",
        "type": "prometheus",
        "access": "proxy",
        "url": f"http://prometheus-server.{NAMESPACE}:9090",
        "isDefault": True,
        "editable": False,
        "jsonData": {"httpMethod": "POST", "timeInterval": "30s"},
    }
    provider = {
        "name": "mlops-infra",
        "orgId": 1,
        "folder": "Platform",
        "type": "file",
        "disableDeletion": True,
        "allowUiUpdates": False,
        "updateIntervalSeconds": 30,
        "options": {"path": "/etc/grafana/dashboards", "foldersFromFilesStructure": False},
    }
    return {
        "datasources.yaml": to_yaml({"apiVersion": 1, "datasources": [source]}),
        "dashboards.yaml": to_yaml({"apiVersion": 1, "providers": [provider]}),
    }


def _deployment(cluster: Cluster, notes: Mapping[str, str]) -> dict[str, Any]:
    secrets = {"GF_SECURITY_ADMIN_USER": "admin-user", "GF_SECURITY_ADMIN_PASSWORD": PASSWORD_KEY}
    env: list[dict[str, Any]] = [{"name": name, "value": value} for name, value in _SETTINGS.items()]
    env += [
        {"name": name, "valueFrom": {"secretKeyRef": {"name": PASSWORD_SECRET, "key": key}}}
        for name, key in secrets.items()
    ]
    pod: dict[str, Any] = {
        "automountServiceAccountToken": False,
        "securityContext": pod_security(_USER, owns_volumes=True),
        "affinity": apart_from_others(GRAFANA, ("prometheus",)),
        "containers": [
            container(
                GRAFANA,
                grafana_image(cluster),
                (),
                ports={"web": 3000},
                cpu="50m",
                memory="128Mi",
                mounts={
                    "/var/lib/grafana": "data",
                    "/tmp": "tmp",  # noqa: S108 - in the container
                    "/etc/grafana/dashboards": "dashboards",
                    "/etc/grafana/provisioning/datasources": "datasources",
                    "/etc/grafana/provisioning/dashboards": "providers",
                },
                ready=("/api/health", "web"),
                alive=("/api/health", "web"),
                env=env,
            )
        ],
        "volumes": [
            {"name": "data", "emptyDir": {}},
            {"name": "tmp", "emptyDir": {}},
            {"name": "dashboards", "configMap": {"name": "grafana-dashboards"}},
            _provided("datasources"),
            _provided("dashboards", "providers"),
        ],
    }  # fmt: skip
    moves_soon(pod)
    return deployment(GRAFANA, NAMESPACE, pod, notes=notes)


def _provided(file: str, volume: str = "") -> dict[str, Any]:
    items = [{"key": f"{file}.yaml", "path": f"{file}.yaml"}]
    return {"name": volume or file, "configMap": {"name": "grafana-provisioning", "items": items}}
