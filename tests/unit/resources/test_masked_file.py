"""A file with a secret in it can still be shown."""

from __future__ import annotations

from mlops_infra.core import Facts, ReadText, Sha256, Stat, StatFact
from mlops_infra.resources import File


def test_a_file_with_a_secret_in_it_shows_all_but_the_secret() -> None:
    file = File("/etc/x", "user a:new-word\nport 2\n", sensitive=True, mask=(r"user \w+:(\S+)",))
    facts = Facts(
        {
            Stat("/etc/x"): StatFact("file", 0o644, "root", "root", 9),
            Sha256("/etc/x"): "0" * 64,
            ReadText("/etc/x"): "user a:old-word\nport 1\n",
        }
    )
    change = file.diff(facts)
    assert change is not None
    assert "-port 1" in change.diff
    assert "word" not in change.diff
    only_secret = file.diff(facts.merged({ReadText("/etc/x"): "user a:old-word\nport 2\n"}))
    assert only_secret is not None
    assert only_secret.diff == "content: a masked part differs"
