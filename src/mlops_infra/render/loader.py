"""Where templates lie: `templates/` of a checkout, or the copy that the wheel carries."""

from __future__ import annotations

from functools import cache
from importlib.resources import files
from pathlib import Path

from mlops_infra.errors import InfraError

__all__ = ["plain_templates", "template_directory"]


@cache
def template_directory() -> Path:
    """The directory of templates. Raises InfraError when the installation is incomplete."""
    packaged = Path(str(files("mlops_infra"))) / "_data" / "templates"
    checkout = Path(__file__).resolve().parents[3] / "templates"
    for candidate in (packaged, checkout):
        if candidate.is_dir():
            return candidate
    raise InfraError(
        "The templates of mlops-infra are missing",
        details=f"looked in {packaged} and {checkout}",
        cause="the package was installed incompletely",
        remedy="pip install --force-reinstall mlops-infra",
    )


@cache
def plain_templates(directory: str, suffix: str) -> dict[str, str]:
    """Files among the templates that are taken as they are (they have braces of their own), by name without suffix."""
    found = sorted((template_directory() / directory).glob(f"*{suffix}"))
    return {path.name.removesuffix(suffix): path.read_text("utf-8") for path in found}
