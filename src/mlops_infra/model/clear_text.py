"""Where secrets may stand in cluster.yaml in clear text: each such place is warned about, and never shown."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from mlops_infra.model.finding import Finding
from mlops_infra.model.tree import Keys

__all__ = ["check_secrets", "secret_places"]

_EACH = "*"
_RECEIVER: Keys = ("monitoring", "receivers", _EACH)
_PLACES: tuple[Keys, ...] = (
    ("ssh", "sudo_password"),
    ("lb", "stats", "password"),
    ("monitoring", "grafana", "password"),
    # A webhook's URL mostly holds no key, and may stand in the file.
    (*_RECEIVER, "email", "password"),
    (*_RECEIVER, "slack", "url"),
    (*_RECEIVER, "pagerduty", "routing_key"),
    ("backup", "copies", _EACH, "s3", "secret_key"),
)
_MADE_BY_US = (("lb", "stats"), ("monitoring", "grafana"))


def secret_places(document: Mapping[str, Any]) -> Iterator[Keys]:
    """Every place of a secret that this document has, filled with whatever."""
    for place in _PLACES:
        yield from (keys for keys, _ in _found(document, place))


def check_secrets(document: Mapping[str, Any]) -> Iterator[Finding]:
    """A secret in clear text is allowed, and worth a word."""
    for place in _PLACES:
        for keys, value in _found(document, place):
            where = keys if isinstance(value, str) else (*keys, "value")
            if isinstance(value, str) or (isinstance(value, Mapping) and value.get("value") is not None):
                message = f"`{'.'.join(str(k) for k in keys)}` stands in the file in clear text"
                hint = "use {file: PATH} or {env: NAME}" + (", or {generate: true}" if keys[:2] in _MADE_BY_US else "")
                # The text itself is not repeated, and the line is not shown.
                yield Finding(where, message, hint, warning=True, at_key=True, secret=True)


def _found(value: Any, place: Keys, keys: Keys = ()) -> Iterator[tuple[Keys, Any]]:
    if not place:
        yield keys, value
    elif place[0] == _EACH:
        for index, part in enumerate(value if isinstance(value, list) else ()):
            yield from _found(part, place[1:], (*keys, index))
    elif isinstance(value, Mapping) and place[0] in value:
        yield from _found(value[place[0]], place[1:], (*keys, place[0]))
