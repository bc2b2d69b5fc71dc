"""mlops-infra: one cluster.yaml, one command, a production platform on bare machines."""

__version__ = "0.1.0"
