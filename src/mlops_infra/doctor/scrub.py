"""Takes secrets out of what goes into a support bundle: rather a word too many than one too few.

`engine.redact` is for output that an operator reads at once, and keeps it readable. A bundle goes to strangers, and
holds configuration files, logs of others' programs and objects: here whole blocks go. Megabytes go through it, so every
pattern begins where a word does and looks at a line once.
"""

from __future__ import annotations

import re
from base64 import b64encode
from collections.abc import Iterable

from mlops_infra.core import MASK, SHAPES

__all__ = ["Scrubber"]

_SHORTEST = 4
"""Shorter "secrets" would mask ordinary words."""

_WORD = (
    r"password|passwd|passphrase|passwort|secret|token|api[-_]?key|access[-_]?key|private[-_]?key|auth[-_]pass|"
    r"routing[-_]?key|client[-_]key[-_]data|certificate[-_]?key|encryption[-_]?key|credentials?|auth|cookie"
)
_VALUE = r"(?:\{[^{}\n]+\}?|\\?\"(?:[^\"\\\n]|\\[^\"\n])*\\?\"?|'[^'\n]*'?|[^\s,}\]]+)"
_NAMED = re.compile(r"(?<![\w.-])([\w.-]++)(\\?[\"']?\s*[:=]\s*)")
_IS_SECRETS_NAME = re.compile(rf"(?i){_WORD}")
_VALUED = re.compile(rf"(?i)(?:bearer |basic )?{_VALUE}")
_NO_SECRET = re.compile(r"(?i)(?:file|path|name|names|dir|ttl|type|hash|ref|bits|days|mode|count|expiration)s?$")
"""Of names with such an ending the value is where a secret is, or how long it lives."""
_OPENS = re.compile(r"^[ -]*[\"']?([\w.-]++)[\"']?:[ \t]*$")
_NESTED = re.compile(r"^([ -]*[\"']?value[\"']?:[ \t]*)\S.*")
"""`password:` and its `value:` on the next line, as cluster.yaml may have it."""
_PLAIN = re.compile(r"(?i)(?:true|false|null|none|\{\}|\[\])[\"']?$")
_FLAG = re.compile(rf"(?i)(--[\w-]{{0,40}}?(?:{_WORD})[\w-]{{0,40}})( +)([^\s-]\S*)")
_BLOCK = re.compile(r"[|>][-+0-9]*\s*\Z")

_WHOLE = (
    *SHAPES,
    re.compile(r"AGE-(?:PLUGIN-[A-Z0-9-]+|SECRET-KEY)-1[A-Z0-9]+", re.IGNORECASE),
    re.compile(r"LS0tLS1CRUdJTi[A-Za-z0-9+/=\\]{8,}"),  # base64 of a PEM file, as kubeconfigs and Secrets hold them
    re.compile(r"\$(?:1|2[abxy]|5|6|7|y|argon2\w*|apr1)\$[./A-Za-z0-9$,=+-]{8,}"),  # hashes of passwords
    re.compile(r"\b(?:AKIA|ASIA)[0-9A-Z]{16}\b"),
    re.compile(r"\bgh[pousr]_[A-Za-z0-9]{20,}|\bglpat-[\w-]{16,}|\bxox[abprs]-[\w-]{10,}"),
    re.compile(r"(?<=hooks\.slack\.com/services/)[\w/]+"),
)
_BEARER = re.compile(r"(?i)\b(bearer)(\s+)[\w.~+/=-]{8,}")
_ORPHAN = re.compile(r"-----END [A-Z0-9 ]*PRIVATE KEY-----")
_ARMOUR = re.compile(r"[A-Za-z0-9+/=]{16,}\s*$")
_HEX64 = re.compile(r"(?<![0-9A-Fa-f])[0-9A-Fa-f]{64}(?![0-9A-Fa-f])")
_PUBLIC_HEX = re.compile(r"(?i)(?:sha-?256|container|sandbox|\bid)\S*?[\"'\\ :=/-]*$")
_SPOKEN = re.compile(r"(?i)\b(password|passphrase|secret|token)( +)(?=\S*\d)(?=\S*[a-z])[^\s\"',;]{8,}")
"""As people write it in a log: a word after it that has letters and digits in it."""
_IN_URL = re.compile(r"((?<=[a-z0-9+.-])://)[^\s/@\"']+@", re.IGNORECASE)
_HAPROXY = (
    re.compile(r"(?im)^(\s*stats\s+auth\s+)\S.*$"),
    re.compile(r"(?im)^(\s*user\s+\S+\s+(?:insecure-)?password\s+)\S+"),
    re.compile(r"(?im)^(\s*auth_pass\s+)\S+"),
    re.compile(r"(?i)(http-request\s+set-header\s+\S*auth\S*\s+)\S.*$", re.MULTILINE),
)
_NAME = rf"[\w.-]*(?:{_WORD}|pass|key)[\w.-]*"
_ENVIRONMENT = re.compile(rf"(?i)(\bname:\s*[\"']?{_NAME}[\"']?\s+value:\s*)({_VALUE})")
_ENVIRONMENT_JSON = re.compile(rf"(?i)(\\?\"name\\?\"\s*:\s*\\?\"{_NAME}\\?\"\s*,\s*\\?\"value\\?\"\s*:\s*)({_VALUE})")
_IS_SECRET = re.compile(r"(?m)\bkind\\?[\"']?\s*:\s*\\?[\"']?Secret(?:List)?\b")
_DATA_JSON = re.compile(r"\\*\"(?:data|stringData)\\*\"\s*:\s*\{")
_DATA_YAML = re.compile(r"^(?P<indent>[ -]*)(?:data|stringData):\s*(?P<inline>\S.*)?$")


class Scrubber:
    """Masks the texts it was told of, in plain and in base64, and whatever has the shape or the name of a secret."""

    def __init__(self, known: Iterable[str] = ()) -> None:
        forms: set[str] = set()
        for text in known:
            for one in {text, text.strip(), *text.splitlines()}:
                if len(one) >= _SHORTEST:
                    forms |= {one, b64encode(one.encode()).decode().rstrip("=")}
        self._known = sorted(forms, key=len, reverse=True)

    def __call__(self, text: str) -> str:
        for known in self._known:
            text = text.replace(known, MASK)
        text = _without_data(text)
        for pattern in _WHOLE:
            text = pattern.sub(MASK, text)
        text = _without_ends(text)
        for pattern in _HAPROXY:
            text = pattern.sub(rf"\g<1>{MASK}", text)
        for pattern in (_ENVIRONMENT, _ENVIRONMENT_JSON):
            text = pattern.sub(rf"\g<1>{MASK}", text)
        text = _FLAG.sub(rf"\g<1>\g<2>{MASK}", text)
        text = _SPOKEN.sub(rf"\g<1>\g<2>{MASK}", text)
        text = _BEARER.sub(rf"\g<1>\g<2>{MASK}", text)
        text = _IN_URL.sub(rf"\g<1>{MASK}@", text)
        return _named(_HEX64.sub(_unless_named, text))


def _unless_named(match: re.Match[str]) -> str:
    """kubeadm's certificate keys look like digests and ids of containers: only what stands before tells them apart."""
    before = match.string[max(0, match.start() - 24) : match.start()].rpartition("\n")[2]
    return match[0] if _PUBLIC_HEX.search(before) else MASK


def _named(text: str) -> str:
    """Values of what is called a secret; of a YAML block (`password: |`) the lines below it."""
    lines: list[str] = []
    deeper: int | None = None
    nested: int | None = None
    for line in text.split("\n"):
        indent = len(line) - len(line.lstrip())
        if deeper is not None and (indent > deeper or not line.strip()):
            lines.append(" " * indent + MASK if line.strip() else line)
            continue
        deeper = None
        if nested is not None and line.strip():
            nested = nested if indent > nested else None
        masked, is_block = _masked(line)
        lines.append(_NESTED.sub(rf"\g<1>{MASK}", masked) if nested is not None else masked)
        deeper = indent if is_block else None
        opens = _OPENS.search(line)
        nested = indent if opens and _IS_SECRETS_NAME.search(opens[1]) else nested
    return "\n".join(lines)


def _masked(line: str) -> tuple[str, bool]:
    """The line, and whether the value of its last name is the block below it."""
    kept: list[str] = []
    at = 0
    for name in _NAMED.finditer(line):
        if name.start() < at or not _IS_SECRETS_NAME.search(name[1]) or _NO_SECRET.search(name[1]):
            continue
        value = _VALUED.match(line, name.end())
        if value is None or _PLAIN.match(value[0]) or MASK in value[0]:
            continue
        if _BLOCK.fullmatch(line, name.end()):
            return "".join([*kept, line[at:]]), True
        # Its quotes stay, so that JSON and YAML can still be read.
        quote = next((q for q in ('\\"', '"', "'") if value[0].startswith(q) and len(value[0]) > len(q)), "")
        kept += [line[at : name.end()], quote, MASK, quote]
        at = value.end()
    return "".join([*kept, line[at:]]), False


def _without_data(text: str) -> str:
    """Documents that hold a Secret lose `data` and `stringData`, of whatever object they are."""
    if not _IS_SECRET.search(text):
        return text
    text = _without_json_data(text)
    lines: list[str] = []
    deeper: int | None = None
    for line in text.split("\n"):
        indent = len(line) - len(line.lstrip(" "))
        if deeper is not None and line.strip() and indent > deeper:
            continue
        deeper = None
        found = _DATA_YAML.match(line)
        if found is None:
            lines.append(line)
            continue
        deeper = len(found["indent"])
        lines.append(f"{line.split(':', 1)[0]}: {MASK}")
    return "\n".join(lines)


def _without_json_data(text: str) -> str:
    """Braces inside of strings may take more than the block; a block that was cut off goes to the end."""
    kept: list[str] = []
    at = 0
    while (found := _DATA_JSON.search(text, at)) is not None:
        kept += [text[at : found.end()], MASK, "}"]
        depth, at = 1, found.end()
        while depth and at < len(text):
            depth += {"{": 1, "}": -1}.get(text[at], 0)
            at += 1
    return "".join([*kept, text[at:]])


def _without_ends(text: str) -> str:
    """What is left of private keys whose beginning was cut off."""
    if not _ORPHAN.search(text):
        return text
    lines = text.split("\n")
    for end in [n for n, line in enumerate(lines) if _ORPHAN.search(line)]:
        first = end
        while first and _ARMOUR.search(lines[first - 1]):
            first -= 1
        lines[first : end + 1] = [MASK] * (end + 1 - first)
    return "\n".join(lines)
