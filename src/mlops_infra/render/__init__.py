"""Text out of templates, and release artifacts by name."""

from mlops_infra.render.environment import render
from mlops_infra.render.loader import plain_templates
from mlops_infra.render.yaml import parse_documents, to_yaml

__all__ = ["parse_documents", "plain_templates", "render", "to_yaml"]
