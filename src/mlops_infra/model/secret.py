"""How a secret is named in cluster.yaml: from a file, from the environment, or generated and kept."""

from __future__ import annotations

from typing import Any

from pydantic import model_validator

from mlops_infra.model.base import FileName, Noun, VariableName

__all__ = ["MASK", "SecretSource"]

MASK = "********"
"""As core.secret has it; importing that package, with all its values, would slow `validate` by a fifth."""


class SecretSource(Noun):
    """Exactly one of `file`, `env`, `value` (a warning: it is in clear text) or `generate`.

    Plain text in place of the mapping is the `value`. A generated secret is kept in
    `.mlops-infra/site/secrets/<name>` (0600).
    """

    file: FileName | None = None
    """A file with the secret, relative to cluster.yaml; one line end is cut."""
    env: VariableName | None = None
    """The environment variable that holds it."""
    value: str | None = None
    """The secret itself, in clear text."""
    generate: bool = False
    """Made at first use and kept."""

    @model_validator(mode="before")
    @classmethod
    def _plain_text_is_a_value(cls, given: Any) -> Any:
        return {"value": given} if isinstance(given, str) else given

    @model_validator(mode="after")
    def _says_one_thing(self) -> SecretSource:
        said = [n for n in ("file", "env", "value") if getattr(self, n) is not None] + ["generate"] * self.generate
        if len(said) != 1:
            told = " and ".join(f"`{n}`" for n in said) if said else "nothing"
            raise ValueError(f"a secret is one of `file`, `env`, `value` and `generate: true`, and here is {told}")
        return self
