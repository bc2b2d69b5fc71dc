"""`lb apply|status`."""

from mlops_infra.cli.flow import Part
from mlops_infra.cli.part import group

app = group("The load balancers: HAProxy in front of API and ingress", Part(frozenset({"lb"}), ("lb",)))
