"""The one Jinja environment: an unknown name is an error, never an empty string."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

from mlops_infra.errors import InfraError
from mlops_infra.render.loader import template_directory
from mlops_infra.render.yaml import to_yaml

if TYPE_CHECKING:
    from jinja2 import Environment

__all__ = ["render"]


@cache
def _environment() -> Environment:
    from jinja2 import Environment, FileSystemLoader, StrictUndefined  # noqa: PLC0415 - not needed to check a file

    environment = Environment(
        loader=FileSystemLoader(template_directory()),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        # `${#name}` is sh for a length, and would open a comment.
        comment_start_string="<#",
        comment_end_string="#>",
        autoescape=False,  # noqa: S701 - configuration files, not HTML
    )
    environment.filters["to_yaml"] = to_yaml
    return environment


def render(template: str, **values: Any) -> str:
    """The text of `templates/<template>` with these values. Templates are compiled once a process.

    Raises InfraError naming the template when it is missing or uses a name that was not given.
    """
    from jinja2 import TemplateError  # noqa: PLC0415 - as above

    try:
        return _environment().get_template(template).render(**values)
    except TemplateError as error:
        raise InfraError(
            f"The template {template} cannot be rendered",
            details=f"{type(error).__name__}: {error}",
            cause="a fault of mlops-infra, or a template that was edited",
            remedy="pip install --force-reinstall mlops-infra",
        ) from error
