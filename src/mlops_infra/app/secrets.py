"""Where a secret's text comes from."""

from __future__ import annotations

import os
import secrets as randomness
from pathlib import Path

from mlops_infra.core.secret import Secret
from mlops_infra.errors import ConfigError
from mlops_infra.model.named import beside
from mlops_infra.model.secret import SecretSource
from mlops_infra.model.site import Site

__all__ = ["resolve"]

GENERATED_BYTES = 24
"""192 bits, 32 characters of URL-safe base64."""


def resolve(source: SecretSource, name: str, site: Site) -> Secret:
    """The secret itself: from its file (relative to cluster.yaml; one line end is cut), the environment, the text in
    the file, or generated at first use and kept in `.mlops-infra/site/secrets/<name>` (0600).

    `name` is a plain file name such as `lb-stats`. Raises ConfigError where the source is not there or empty.
    """
    if source.file is not None:
        return _from_file(beside(site.config.parent, source.file), name)
    if source.env is not None:
        text = os.environ.get(source.env, "")
        if not text:
            raise ConfigError(
                f"the secret `{name}` comes from the environment variable {source.env}, which is not set",
                remedy=f"export {source.env}=…, or name another source in {site.config}",
            )
        return Secret(text)
    if source.value is not None:
        return Secret(source.value)
    return _generated(name, site)


def _from_file(path: Path, name: str) -> Secret:
    try:
        text = path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise ConfigError(f"the secret `{name}` cannot be read from {path}: {reason}") from error
    text = text.removesuffix("\n").removesuffix("\r")
    if not text:
        raise ConfigError(f"the secret `{name}`: {path} is empty", remedy="write the secret into it")
    return Secret(text)


def _generated(name: str, site: Site) -> Secret:
    path = site.secrets / name
    if path.exists():
        return _from_file(path, name)
    site.directory.mkdir(parents=True, exist_ok=True, mode=0o700)
    site.secrets.mkdir(exist_ok=True, mode=0o700)
    text = randomness.token_urlsafe(GENERATED_BYTES)
    temporary = site.secrets / f".{name}.{randomness.token_hex(4)}"
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "w") as out:
            out.write(text + "\n")
            out.flush()
            os.fsync(out.fileno())
        try:
            # A link fails where the name exists: of two runs at once the first wins, and both use its secret.
            os.link(temporary, path)
        except FileExistsError:
            return _from_file(path, name)
    finally:
        temporary.unlink(missing_ok=True)
    return Secret(text)
