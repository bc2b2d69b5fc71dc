"""`network apply`."""

from mlops_infra.cli.flow import Part
from mlops_infra.cli.part import group

app = group("The pod network", Part(frozenset({"network"}), ("nodes",)), has_status=False)
