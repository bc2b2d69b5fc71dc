"""When a certificate ends and for which names it is: what the checks need of X.509, read from DER (RFC 5280, 4.1)."""

from __future__ import annotations

from base64 import b64decode
from collections.abc import Iterator
from datetime import UTC, datetime
from ipaddress import ip_address

__all__ = ["end_of", "names_of"]

_SEQUENCE, _VERSION, _UTC_TIME, _GENERALIZED_TIME = 0x30, 0xA0, 0x17, 0x18
_OCTETS, _EXTENSIONS, _DNS_NAME, _ADDRESS = 0x04, 0xA3, 0x82, 0x87
_ALT_NAMES = bytes.fromhex("551d11")
_BEGIN, _END = b"-----BEGIN CERTIFICATE-----", b"-----END CERTIFICATE-----"


def end_of(text: str) -> datetime:
    """notAfter of a certificate in base64: of its DER, or of a PEM file as kubeconfigs carry it.

    Raises ValueError where there is no certificate in it.
    """
    raw = _der(text)
    fields = [f for f in _fields(raw) if f[0] != _VERSION]
    # serialNumber, signature, issuer, validity
    if len(fields) < 4:
        raise ValueError("no certificate")
    times = list(_elements(_checked(fields[3], _SEQUENCE)))
    if len(times) != 2:
        raise ValueError("no validity")
    return _time(*times[1])


def names_of(text: str) -> frozenset[str]:
    """The names and addresses (`subjectAltName`) of a certificate in base64, as text; none where it has none.

    Raises ValueError where there is no certificate in it.
    """
    found = set()
    for tag, content in _fields(_der(text)):
        if tag != _EXTENSIONS:
            continue
        for extension in _inside(_checked(next(_elements(content), (0, b"")), _SEQUENCE), _SEQUENCE):
            parts = list(_elements(extension))
            if not parts or parts[0][1] != _ALT_NAMES:
                continue
            for kind, name in _elements(_inside(_checked(parts[-1], _OCTETS), _SEQUENCE)[0]):
                if kind == _DNS_NAME:
                    found.add(name.decode("ascii").lower())
                elif kind == _ADDRESS and len(name) in (4, 16):
                    found.add(str(ip_address(name)))
    return frozenset(found)


def _der(text: str) -> bytes:
    raw = b64decode(text, validate=True)
    return b64decode(raw.split(_BEGIN, 1)[1].split(_END, 1)[0]) if _BEGIN in raw else raw


def _fields(raw: bytes) -> list[tuple[int, bytes]]:
    """Those of the part that is signed."""
    (certificate,) = _inside(raw, _SEQUENCE)
    return list(_elements(_checked(next(_elements(certificate), (0, b"")), _SEQUENCE)))


def _inside(raw: bytes, tag: int) -> list[bytes]:
    return [_checked(element, tag) for element in _elements(raw)]


def _checked(element: tuple[int, bytes], tag: int) -> bytes:
    if element[0] != tag:
        raise ValueError(f"tag {element[0]:#x} where {tag:#x} was expected")
    return element[1]


def _elements(raw: bytes) -> Iterator[tuple[int, bytes]]:
    """Tag and content of each element, one after the other."""
    at = 0
    while at < len(raw):
        header = raw[at : at + 2]
        if len(header) < 2:
            raise ValueError("cut off")
        tag, length, at = header[0], header[1], at + 2
        if length & 0x80:
            size = length & 0x7F
            length, at = int.from_bytes(raw[at : at + size], "big"), at + size
        if at + length > len(raw):
            raise ValueError("cut off")
        yield tag, raw[at : at + length]
        at += length


def _time(tag: int, content: bytes) -> datetime:
    text = content.decode("ascii")
    if tag == _UTC_TIME:
        # Two digits of a year: 50 to 99 are of the last century (RFC 5280, 4.1.2.5.1).
        text = ("19" if text[:2] >= "50" else "20") + text
    elif tag != _GENERALIZED_TIME:
        raise ValueError("no time")
    return datetime.strptime(text, "%Y%m%d%H%M%SZ").replace(tzinfo=UTC)
