"""Prometheus, Alertmanager, Grafana and the exporters they live on."""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import AfterValidator, Field

from mlops_infra.model.base import Cidr, FileName, NodePort, Noun
from mlops_infra.model.receivers import Receiver
from mlops_infra.model.secret import SecretSource

__all__ = ["Grafana", "Monitoring", "Prometheus", "seconds_of", "size_of"]

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800, "y": 31536000}
_SIZES = {"Mi": 2**20, "Gi": 2**30, "Ti": 2**40}


def seconds_of(text: str) -> int:
    """Seconds of a time such as 30s, 36h or 15d."""
    return int(text[:-1]) * _UNITS[text[-1]]


def size_of(text: str) -> int:
    """Bytes of a size such as 10Gi."""
    return int(text[:-2]) * _SIZES[text[-2:]]


def _span(value: str) -> str:
    if not re.fullmatch(r"[1-9][0-9]*[smhdwy]", value):
        raise ValueError(f"`{value}` is not a time such as 30s, 36h or 15d")
    return value


def _size(value: str) -> str:
    if not re.fullmatch(r"[1-9][0-9]*(Mi|Gi|Ti)", value):
        raise ValueError(f"`{value}` is not a size such as 10Gi")
    return value


Span = Annotated[str, AfterValidator(_span)]
Size = Annotated[str, AfterValidator(_size)]


class Prometheus(Noun):
    node_port: NodePort = 30900
    retention: Span = "15d"
    """Samples older than this go, and the oldest go earlier where the volume fills: four fifths of it are used."""
    volume: Size = "10Gi"
    """What is claimed of `storage.class`; without a class the samples end with the pod, and keep to this size."""
    scrape_interval: Span = "30s"


class Grafana(Noun):
    node_port: NodePort = 30300
    user: str = Field(default="admin", pattern=r"^[A-Za-z0-9._@-]+$")
    password: SecretSource = SecretSource(generate=True)
    """`mlops-infra monitoring password` shows it. A new one counts after the pod's restart, which follows by itself."""


class Monitoring(Noun):
    enabled: bool = True
    """False: not installed, and taken away, samples included, where this program installed it."""
    allow_from: tuple[Cidr, ...] = ()
    """Networks that may use the LoadBalancer addresses of Prometheus, Grafana and Alertmanager; empty:
    `network.node_cidr`, else the hosts alone. Node ports are open to whoever reaches a node."""
    prometheus: Prometheus = Prometheus()
    grafana: Grafana = Grafana()
    receivers: tuple[Receiver, ...] = ()
    """Who is told of alerts."""
    rules: tuple[FileName, ...] = ()
    """Files with rules of your own (Prometheus' format), relative to cluster.yaml."""
    dashboards: tuple[FileName, ...] = ()
    """Dashboards of your own, as Grafana exports them (JSON), relative to cluster.yaml."""
    backup_max_age: Span = "36h"
    """The alert BackupTooOld fires where the last backup is older."""
    alert_delay: float = Field(default=1.0, gt=0, le=1)
    """The share of their waiting time (`for:`) that the shipped alerts wait; less than 1 only to try them out."""
