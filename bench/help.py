"""`mlops-infra --help` beside a bare Typer application with the same commands, in one run.

python bench/help.py [ROUNDS]
"""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
from pathlib import Path

from common import interleaved, machine, median, run, table


def bare_application(directory: Path) -> Path:
    """The same commands with the same one-line helps, and nothing behind them."""
    text = subprocess.run(
        [sys.executable, "-m", "mlops_infra", "--help"],
        capture_output=True,
        text=True,
        check=True,
        env={"NO_COLOR": "1", "COLUMNS": "200", "PATH": "/usr/bin"},
    ).stdout
    names = re.findall(r"^[│\s]{1,4}([a-z][a-z-]+)\s{2,}\S", text, re.M)
    lines = ["import typer", "app = typer.Typer()"]
    for name in names:
        lines += [
            f"@app.command('{name}', help='What {name} does, in one line.')",
            f"def _{name.replace('-', '_')}() -> None: ...",
        ]
    lines += ["app()"]
    path = directory / "bare.py"
    path.write_text("\n".join(lines))
    print(f"{len(names)} commands: {' '.join(names)}")
    return path


def main() -> None:
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 15
    with tempfile.TemporaryDirectory() as directory:
        bare = bare_application(Path(directory))
        results = interleaved(
            {
                "mlops-infra --help": lambda: run([str(Path(sys.executable).parent / "mlops-infra"), "--help"]),
                "bare Typer --help": lambda: run([sys.executable, str(bare), "--help"]),
                "python -c pass": lambda: run([sys.executable, "-c", "pass"]),
            },
            rounds,
        )
    print(machine())
    print(table(results))
    ours, theirs = median(results["mlops-infra --help"]), median(results["bare Typer --help"])
    print(f"ratio {ours / theirs:.2f} (to reach: at most 1.2)")


if __name__ == "__main__":
    main()
