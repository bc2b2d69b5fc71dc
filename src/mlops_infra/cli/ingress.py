"""`ingress apply`."""

from mlops_infra.cli.flow import Part
from mlops_infra.cli.part import group

app = group("What serves Ingress objects", Part(frozenset({"ingress"}), ("nodes", "lb"), ("worker",)), has_status=False)
