"""`masters apply|status`."""

from mlops_infra.cli.flow import Part
from mlops_infra.cli.part import group

app = group("The control plane", Part(frozenset({"masters", "control-plane"}), ("nodes", "etcd"), ("master",)))
