"""What is wrong in cluster.yaml, where, and how it should read."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from mlops_infra.errors import ConfigError

__all__ = ["ConfigProblems", "Mark", "Problem"]


@dataclass(frozen=True, slots=True)
class Mark:
    """A place in a file; `line` and `column` count from 1, 0 where there is none. `text` is the line as it stands."""

    file: Path
    line: int = 0
    column: int = 0
    text: str = ""

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.column}" if self.line else str(self.file)


@dataclass(frozen=True, slots=True)
class Problem:
    """One mistake (or, among `Loaded.warnings`, one thing to know).

    `offending` is the key or value meant, `path` its place in the document (`hosts.masters[1].address`), `hint` a
    sentence such as "did you mean `pod_cidr`?".
    """

    mark: Mark
    message: str
    offending: str = ""
    path: str = ""
    hint: str = ""

    def __str__(self) -> str:
        hint = f" ({self.hint})" if self.hint else ""
        return f"{self.mark}: {self.message}{hint}"

    def as_object(self) -> dict[str, str | int]:
        """The shape of docs/reference/json.md."""
        return {
            "file": str(self.mark.file),
            "line": self.mark.line,
            "column": self.mark.column,
            "message": self.message,
            "path": self.path,
            "offending": self.offending,
            "hint": self.hint,
        }

    def excerpt(self) -> str:
        """The line with a caret below the place; empty where there is no line to show."""
        if not self.mark.text.strip():
            return ""
        number = str(self.mark.line)
        # Tabs are kept before the caret, so that it stands below its character in every terminal.
        before = self.mark.text[: self.mark.column - 1]
        pad = "".join("\t" if c == "\t" else " " for c in before)
        return f"  {number} | {self.mark.text.rstrip()}\n  {' ' * len(number)} | {pad}^"


class ConfigProblems(ConfigError):  # noqa: N818 - it holds several, and its name is what it is
    """Everything that is wrong with a file, at once. `problems` are in the order of the file."""

    def __init__(self, problems: Iterable[Problem], *, warnings: Iterable[Problem] = (), path: Path) -> None:
        self.problems = tuple(problems)
        self.warnings = tuple(warnings)
        count = len(self.problems)
        parts = []
        for problem in self.problems:
            parts.append(str(problem))
            if excerpt := problem.excerpt():
                parts.append(excerpt)
        super().__init__(
            f"{path} has {count} problem{'s' if count != 1 else ''}",
            details="\n".join(parts),
            remedy="correct the file, then run `mlops-infra validate`",
        )
