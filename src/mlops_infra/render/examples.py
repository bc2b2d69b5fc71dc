"""Where the examples lie: `examples/` of a checkout, or the copy that the wheel carries."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

from mlops_infra.errors import InfraError

__all__ = ["example_file"]


def example_file(path: str) -> str:
    """The text of `examples/<path>`. Raises InfraError when the installation is incomplete."""
    packaged = Path(str(files("mlops_infra"))) / "_data" / "examples" / path
    checkout = Path(__file__).resolve().parents[3] / "examples" / path
    for candidate in (packaged, checkout):
        if candidate.is_file():
            return candidate.read_text("utf-8")
    raise InfraError(
        f"The example {path} is missing",
        details=f"looked for {packaged} and {checkout}",
        cause="the package was installed incompletely",
        remedy="pip install --force-reinstall mlops-infra",
    )
