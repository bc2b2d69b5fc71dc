"""`security apply`: the firewall, and the roles that `access` gives to people."""

from mlops_infra.cli.flow import Part
from mlops_infra.cli.part import group

app = group(
    "The firewall, and the roles of people",
    Part(frozenset({"access", "firewall", "firewall-kept", "record"}), ("nodes",)),
    has_status=False,
)
