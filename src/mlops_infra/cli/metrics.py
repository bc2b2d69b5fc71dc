"""`metrics apply`."""

from mlops_infra.cli.flow import Part
from mlops_infra.cli.part import group

app = group("The API of metrics, for `kubectl top`", Part(frozenset({"metrics"}), ("nodes",)), has_status=False)
