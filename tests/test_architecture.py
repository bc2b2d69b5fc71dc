"""The house rules that a machine can check (docs/explanation/architecture.md)."""

from __future__ import annotations

import ast
import json
import os
import shutil
import subprocess
import sys
import warnings
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
SOURCE = ROOT / "src" / "mlops_infra"
MODULES = sorted(SOURCE.rglob("*.py"))
LONG = 400
"""Lines above which a module gets a warning here: one idea a file, near 300 lines."""
TOO_LONG = 600


def python(*arguments: str, cwd: Path | None = None, **environment: str) -> subprocess.CompletedProcess[str]:
    clean = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "PYTHONWARNINGS")}
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=cwd,
        env={**clean, **environment},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


def modules_loaded_by(*arguments: str, cwd: Path | None = None) -> set[str]:
    """The top-level modules in memory after one command line ran in a fresh interpreter."""
    script = (
        "import json, sys\n"
        "from mlops_infra.cli.main import run\n"
        f"run({list(arguments)!r})\n"
        "print('\\n' + json.dumps(sorted(sys.modules)))\n"
    )
    done = python("-c", script, cwd=cwd)
    assert done.returncode == 0, done.stderr
    names: list[str] = json.loads(done.stdout.splitlines()[-1])
    return {name.split(".")[0] for name in names}


def test_every_module_imports_only_its_own_package_and_the_ones_below() -> None:
    done = subprocess.run(
        [str(Path(sys.executable).parent / "lint-imports"), "--no-cache"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout


def test_modules_hold_one_idea_and_stay_short() -> None:
    sizes = {str(m.relative_to(SOURCE)): len(m.read_text().splitlines()) for m in MODULES}
    for name, lines in sizes.items():
        if lines > LONG:
            with warnings.catch_warnings():
                warnings.simplefilter("default")
                warnings.warn(f"{name} has {lines} lines", stacklevel=1)
    assert {name: lines for name, lines in sizes.items() if lines > TOO_LONG} == {}


@pytest.mark.parametrize("module", MODULES, ids=lambda m: str(m.relative_to(SOURCE)))
def test_only_ui_and_the_command_line_print(module: Path) -> None:
    if module.relative_to(SOURCE).parts[0] in ("ui",):
        return
    calls = [
        node.lineno
        for node in ast.walk(ast.parse(module.read_text()))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "print"
    ]
    assert calls == [], f"print() in lines {calls}"


def test_the_help_needs_neither_ssh_nor_the_model_nor_templates() -> None:
    loaded = modules_loaded_by("--help")
    assert loaded.isdisjoint({"fabric", "paramiko", "pydantic", "jinja2", "rich", "ruamel"})


def test_validating_a_file_needs_no_ssh(tmp_path: Path) -> None:
    loaded = modules_loaded_by("validate", "-c", str(ROOT / "cluster.yaml"), cwd=tmp_path)
    assert "pydantic" in loaded, "the file was not read at all"
    assert loaded.isdisjoint({"fabric", "paramiko"})


def test_no_module_asks_whether_this_is_a_dry_run() -> None:
    guilty = [str(m.relative_to(SOURCE)) for m in MODULES if "dry_run" in m.read_text()]
    assert guilty == []


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built from a copy of the checkout and unpacked where no checkout is."""
    source = tmp_path_factory.mktemp("source")
    for name in ("pyproject.toml", "README.md", "LICENSE", "cluster.yaml"):
        shutil.copy(ROOT / name, source)
    shutil.copytree(ROOT / "src", source / "src", ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("templates", "examples"):
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
    target = tmp_path_factory.mktemp("wheel")
    built = python("-m", "build", "--wheel", "--no-isolation", "--outdir", str(target), cwd=source)
    assert built.returncode == 0, built.stdout + built.stderr
    (file,) = target.glob("*.whl")
    home = tmp_path_factory.mktemp("installed")
    done = python("-m", "pip", "install", "--quiet", "--no-deps", "--target", str(home), str(file))
    assert done.returncode == 0, done.stderr
    return home


def test_an_installed_wheel_finds_every_template_of_the_checkout(wheel: Path, tmp_path: Path) -> None:
    data = wheel / "mlops_infra" / "_data"
    assert (data / "cluster.yaml").read_bytes() == (ROOT / "cluster.yaml").read_bytes()
    ours = {str(p.relative_to(ROOT / "templates")) for p in (ROOT / "templates").rglob("*") if p.is_file()}
    theirs = {str(p.relative_to(data / "templates")) for p in (data / "templates").rglob("*") if p.is_file()}
    assert ours, "there are no templates"
    assert theirs == ours
    assert (data / "examples/ml-service/app/service.py").is_file(), "smoke --full runs it"
    script = (
        "import mlops_infra\n"
        f"assert mlops_infra.__file__.startswith({str(wheel)!r}), mlops_infra.__file__\n"
        "from mlops_infra.render.loader import template_directory\n"
        "print(template_directory())\n"
    )
    done = python("-c", script, cwd=tmp_path, PYTHONPATH=str(wheel))
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == str(data / "templates")


def test_an_installed_wheel_accepts_its_own_example(wheel: Path, tmp_path: Path) -> None:
    shutil.copy(wheel / "mlops_infra" / "_data" / "cluster.yaml", tmp_path)
    done = python(
        "-c", "from mlops_infra.cli.main import main; main()", "validate", cwd=tmp_path, PYTHONPATH=str(wheel)
    )
    assert done.returncode == 0, done.stdout + done.stderr
