"""`mlops-infra --help` beside a bare Typer application with the same commands, in one run.

    python bench/help.py [ROUNDS]

Both are run as console scripts are: a file that imports one module and calls it.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

from common import interleaved, median, run, table
from results import publish

PROGRAM = Path(sys.executable).parent / "mlops-infra"
LEAST = 1.2
UNWANTED = ("fabric", "paramiko", "cryptography", "ruamel", "jinja2", "pydantic")


def bare_application(directory: Path) -> Path:
    """The same commands with the same one-line helps, and nothing behind them."""
    table_of = "from mlops_infra.cli.main import COMMANDS\nfor e in COMMANDS.values(): print(e.name, e.help, sep='\\t')"
    told = subprocess.run([sys.executable, "-c", table_of], capture_output=True, text=True, check=True).stdout
    lines = ["import typer", "app = typer.Typer()"]
    for name, _, words in (line.partition("\t") for line in told.splitlines()):
        lines += [f"@app.command({name!r}, help={words!r})", f"def _{name.replace('-', '_')}() -> None: ..."]
    (directory / "bare_application.py").write_text("\n".join(lines) + "\n")
    script = directory / "bare"
    script.write_text(f"import sys\nsys.path.insert(0, {str(directory)!r})\nfrom bare_application import app\napp()\n")
    return script


def imported() -> list[str]:
    """Modules of UNWANTED that `--help` imports all the same."""
    said = subprocess.run(
        [sys.executable, "-X", "importtime", str(PROGRAM), "--help"], capture_output=True, text=True, check=True
    ).stderr
    names = {line.rpartition("|")[2].strip().partition(".")[0] for line in said.splitlines()}
    return sorted(names & set(UNWANTED))


def main() -> int:
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 25
    with tempfile.TemporaryDirectory() as directory:
        bare = str(bare_application(Path(directory)))
        run([sys.executable, "-c", f"import sys; sys.path.insert(0, {directory!r}); import bare_application"])
        results = interleaved(
            {
                "`mlops-infra --help`": lambda: run([str(PROGRAM), "--help"]),
                "bare Typer application `--help`": lambda: run([sys.executable, bare, "--help"]),
                "`python -c pass`": lambda: run([sys.executable, "-c", "pass"]),
            },
            rounds,
        )
    ours, theirs, _ = (median(runs) for runs in results.values())
    unwanted = imported()
    publish(
        "help",
        "`mlops-infra --help`",
        [
            table(results),
            "",
            f"Ratio {ours / theirs:.2f} (to reach: at most {LEAST}). "
            f"Heavy modules imported: {', '.join(unwanted) or 'none'}.",
        ],
    )
    return int(ours / theirs > LEAST or bool(unwanted))


if __name__ == "__main__":
    sys.exit(main())
