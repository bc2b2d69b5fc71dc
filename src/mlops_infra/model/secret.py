"""How a secret is named in cluster.yaml: from a file, from the environment, or generated and kept."""

from __future__ import annotations

from mlops_infra.model.base import Noun

__all__ = ["SecretSource"]


class SecretSource(Noun):
    """Exactly one of `file`, `env`, `value` (a warning: it is in clear text) or `generate`.

    A generated secret is kept in `.mlops-infra/site/secrets/<name>` (0600).
    """

    file: str | None = None
    env: str | None = None
    value: str | None = None
    generate: bool = False
