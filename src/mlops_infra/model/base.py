"""What all nouns of cluster.yaml share: the base class, and the kinds of text that stand in more than one of them."""

from __future__ import annotations

import ipaddress
import os
import re
from typing import Annotated, Any, NewType
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field
from pydantic.fields import FieldInfo

__all__ = [
    "LOGIN",
    "Address",
    "Cidr",
    "ClusterName",
    "DnsName",
    "Duration",
    "FileName",
    "HostOrAddress",
    "Interface",
    "LabelValue",
    "ModuleName",
    "NamespaceName",
    "NodeName",
    "NodePort",
    "Noun",
    "PackageName",
    "Port",
    "QualifiedName",
    "SysctlKey",
    "Text",
    "Url",
    "VariableName",
    "Version",
    "Word",
    "is_dns_name",
]

DNS_LABEL = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")


# Nothing here uses pydantic's plugins, and looking for them reads the metadata of every installed package.
os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")


class Noun(BaseModel):
    """A frozen part of cluster.yaml; a key that it does not know is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True, arbitrary_types_allowed=True)

    @classmethod
    def file_keys(cls) -> dict[str, FieldInfo]:
        """The keys as the file has them: `class` is none that Python would take for an attribute."""
        return {info.alias or name: info for name, info in cls.model_fields.items()}


def _address(value: str) -> str:
    try:
        found = ipaddress.ip_address(value)
    except ValueError:
        hint = ": an address has no prefix length" if "/" in value else ""
        raise ValueError(f"`{value}` is not an IP address{hint}") from None
    return str(found)


def _cidr(value: str) -> str:
    try:
        return str(ipaddress.ip_network(value))
    except ValueError:
        pass
    try:
        meant = ipaddress.ip_network(value, strict=False)
    except ValueError:
        raise ValueError(f"`{value}` is not a network such as 10.244.0.0/16") from None
    raise ValueError(f"`{value}` has host bits set: the network is {meant}")


def is_dns_name(value: str) -> bool:
    """Whether this is an RFC 1123 subdomain: lower-case labels of letters, digits and hyphens, 253 in all."""
    return len(value) <= 253 and all(DNS_LABEL.fullmatch(label) for label in value.split("."))


def _dns_name(value: str) -> str:
    if not is_dns_name(value):
        raise ValueError(
            f"`{value}` is not an RFC 1123 name: lower-case letters, digits, `-` and `.` only{_slug(value)}"
        )
    return value


def _node_name(value: str) -> str:
    # The kubelet also writes the name into the label kubernetes.io/hostname, which holds 63 characters.
    if len(value) > 63:
        raise ValueError(f"`{value}` is longer than the 63 characters that a node's name may have")
    return _dns_name(value)


def _cluster_name(value: str) -> str:
    if not DNS_LABEL.fullmatch(value):
        raise ValueError(f"`{value}` is not an RFC 1123 label: lower-case letters, digits and `-` only{_slug(value)}")
    return value


def _slug(value: str) -> str:
    """A suggestion: the same name as DNS would have it."""
    tidy = re.sub(r"[^a-z0-9.-]+", "-", value.lower()).strip("-.")
    return f"; did you mean `{tidy}`?" if tidy and tidy != value and is_dns_name(tidy) else ""


def _namespace(value: str) -> str:
    if not DNS_LABEL.fullmatch(value):
        raise ValueError(f"`{value}` is not the name of a namespace: lower-case letters, digits and `-`{_slug(value)}")
    return value


def _host_or_address(value: str) -> str:
    if not value:
        raise ValueError("it is empty")
    try:
        return str(ipaddress.ip_address(value))
    except ValueError:
        pass
    if not is_dns_name(value.lower()) or re.fullmatch(r"[0-9.]+", value):
        raise ValueError(f"`{value}` is neither an IP address nor a DNS name")
    return value


def _matches(pattern: str, wanted: str) -> AfterValidator:
    compiled = re.compile(pattern)

    def validate(value: str) -> str:
        if not compiled.fullmatch(value):
            raise ValueError(f"`{value}` is not {wanted}")
        return value

    return AfterValidator(validate)


def _url(value: str) -> str:
    wanted = "a URL that begins with http:// or https://"
    try:
        found = re.fullmatch(r"https?://[^\s/]+\S*", value) and urlsplit(value).port != 0
    except ValueError:
        found, wanted = False, "a URL: look at its host and port"
    if not found:
        raise ValueError(f"`{value}` is not {wanted}")
    return value


def _version(value: str) -> str:
    if value.startswith("v"):
        raise ValueError(f"`{value}` has a leading v: write `{value[1:]}`")
    if not re.fullmatch(r"[0-9]+\.[0-9]+\.[0-9]+", value):
        raise ValueError(f"`{value}` is not a whole version such as 1.31.4")
    return value


def _text(value: Any) -> Any:
    # `vm.max_map_count: 262144` and `gpu: true` are what people write; the other side wants text.
    if isinstance(value, bool):
        return str(value).lower()
    return str(value) if isinstance(value, int) else value


class _Login:
    """What LOGIN is."""


LOGIN = _Login()
"""Marks what the operator logs in with: it stays with the operator, and is in no bundle and on no host."""

FileName = NewType("FileName", str)
"""A file that cluster.yaml names: absolute, below `~`, or relative to cluster.yaml; see `model.named`."""
VariableName = NewType("VariableName", str)
"""An environment variable that cluster.yaml names."""
Address = Annotated[str, AfterValidator(_address), Field(json_schema_extra={"examples": ["10.110.190.21"]})]
Cidr = Annotated[str, AfterValidator(_cidr), Field(json_schema_extra={"examples": ["10.244.0.0/16"]})]
HostOrAddress = Annotated[str, AfterValidator(_host_or_address)]
DnsName = Annotated[str, AfterValidator(_dns_name)]
NodeName = Annotated[str, AfterValidator(_node_name)]
"""What Kubernetes accepts for a node: an RFC 1123 subdomain of at most 63 characters."""
NamespaceName = Annotated[str, AfterValidator(_namespace)]
"""An RFC 1123 label."""
ClusterName = Annotated[str, AfterValidator(_cluster_name)]
Interface = Annotated[str, _matches(r"[^\s/:]{1,15}", "the name of a network interface")]
Port = Annotated[int, Field(ge=1, le=65535)]
NodePort = Annotated[int, Field(ge=30000, le=32767)]
"""Kubernetes' range for NodePort services."""
Word = Annotated[str, _matches(r"[^\s:]+", "one word (no spaces, no colon)")]
Url = Annotated[str, AfterValidator(_url)]
PackageName = Annotated[str, _matches(r"[a-z0-9][a-z0-9+.-]+", "the name of a Debian package (one name, no version)")]
SysctlKey = Annotated[
    str, _matches(r"(?!.*\.\.)[A-Za-z0-9_./@-]+", "a kernel setting such as net.ipv4.ip_forward (no spaces)")
]
ModuleName = Annotated[str, _matches(r"[A-Za-z0-9_-]+", "the name of a kernel module")]
Duration = Annotated[str, _matches(r"[0-9]+(us|ms|s|m|h|d)?", "a time as HAProxy writes it, such as 500ms, 30s or 4h")]
Version = Annotated[str, AfterValidator(_version)]
Text = Annotated[str, BeforeValidator(_text, json_schema_input_type=str | int | bool)]
"""Text that may be written as a number or a boolean."""
QualifiedName = Annotated[
    str,
    _matches(
        r"([a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?/)?[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?",
        "a label key such as `gpu` or `example.com/gpu`",
    ),
]
LabelValue = Annotated[
    str,
    BeforeValidator(_text, json_schema_input_type=str | int | bool),
    _matches(r"([A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?)?", "a label value: letters, digits, `-`, `_`, `.`"),
]
