"""Release manifests as JSON, kept: parsing their YAML is half a second of pure Python that every run would spend."""

from __future__ import annotations

import contextlib
import hashlib
import json
import tempfile
from pathlib import Path

from mlops_infra.render.yaml import parse_documents

__all__ = ["as_json"]


def as_json(content: bytes, directory: Path) -> bytes:
    """The documents of a YAML stream as one JSON list, which `parse_documents` reads too.

    Kept below `directory` under the stream's own sum, behind a sum of the JSON: a copy that is cut or changed is made
    again. A stream with values that JSON cannot hold, or one that is not YAML, comes back as it is.
    """
    kept = directory / f"{_sum(content)}.json"
    try:
        head, _, body = kept.read_bytes().partition(b"\n")
        if head.decode("ascii", "replace") == _sum(body):
            return body
    except OSError:
        pass
    try:
        documents = parse_documents(content.decode())
        body = json.dumps(documents, ensure_ascii=False).encode()
    except (ValueError, TypeError):
        return content
    if json.loads(body) != documents:
        return content
    # Without a place for it the next run parses again.
    with contextlib.suppress(OSError):
        directory.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=directory, prefix=".parsed-", delete=False) as staged:
            staged.write(_sum(body).encode() + b"\n" + body)
        Path(staged.name).replace(kept)
    return body


def _sum(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
