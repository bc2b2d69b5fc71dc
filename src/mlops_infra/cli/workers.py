"""`workers apply|status`."""

from mlops_infra.cli.flow import Part
from mlops_infra.cli.part import group

app = group("The workers", Part(frozenset({"workers"}), ("nodes",), ("worker",)))
