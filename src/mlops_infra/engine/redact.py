"""Takes secrets out of what programs print, before it leaves the parser of a batch."""

from __future__ import annotations

import re

from mlops_infra.core import MASK, SHAPES

__all__ = ["redact"]

_HEADER = re.compile(r"(?i)(authorization:\s*)(?:(?:bearer|basic)\s+)?\S+")
# Neither reads what may stand before the name or the scheme: from each of many words in a row it would read to the end.
_NAMED = re.compile(
    r"(?i)(?<![^\W_])((?:password|passwd|passphrase|token|client-key-data|secret[-_]access[-_]key)"
    r"\"?\s*[:=]\s*\"?)[^\s\",]+"
)
_IN_URL = re.compile(r"((?<=[a-z0-9+.-])://[^\s/:@]+:)[^\s/@]+@")
_HEX64 = re.compile(r"(?<![0-9A-Fa-f])[0-9A-Fa-f]{64}(?![0-9A-Fa-f])")
_DIGEST = re.compile(r"sha-?256\S*\s*(?:sum|is|wanted)?[ :=]*$|wanted $", re.IGNORECASE)


def redact(text: str) -> str:
    """`text` without tokens, private keys, passwords, certificate keys. What is called a sha256 is public and stays."""
    for pattern in SHAPES:
        text = pattern.sub(MASK, text)
    text = _HEADER.sub(rf"\g<1>{MASK}", text)
    text = _NAMED.sub(rf"\g<1>{MASK}", text)
    text = _IN_URL.sub(rf"\g<1>{MASK}@", text)
    return _HEX64.sub(_unless_digest, text)


def _unless_digest(match: re.Match[str]) -> str:
    """kubeadm's certificate keys look like digests: only what stands before tells them apart."""
    before = match.string[max(0, match.start() - 24) : match.start()]
    return match.group() if _DIGEST.search(before) else MASK
