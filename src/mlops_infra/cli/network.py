"""`network apply`."""

from mlops_infra.cli.part import part

app = part("The pod network", ("network",))
