"""`workers apply|status`."""

from mlops_infra.cli.part import part

app = part("The workers", ("workers",), shows=("nodes",), roles=("worker",))
