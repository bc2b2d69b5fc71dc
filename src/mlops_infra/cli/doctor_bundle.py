"""`doctor bundle`: one archive for those who help."""

from __future__ import annotations

import json
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from mlops_infra.cli.options import Options, options_of
from mlops_infra.errors import ExitCode, InfraError

if TYPE_CHECKING:
    from collections.abc import Callable

    from mlops_infra.core import Secret

__all__ = ["bundle"]


def bundle(
    ctx: typer.Context,
    out_file: Path | None = typer.Option(None, "--out", metavar="FILE", help="Where to; default: here, by its time."),
    since: str = typer.Option("2h", "--since", metavar="SPAN", help="This much of the journals (30m, 2h, 1d)."),
    seconds: float = typer.Option(60.0, "--time", min=5.0, max=1800.0, help="Seconds for all that is asked."),
    size: int = typer.Option(50, "--size", min=1, max=2000, help="MiB of text in all, before it is packed."),
) -> int:
    """Collect logs and state of all hosts and of the cluster, without secrets, in one archive to give to who helps.

    Bounded in time and size; works with the API down and hosts gone. Begin with its index.html. Secrets are taken out:
    keys, tokens, passwords, the contents of Secrets. Logs of your own pods are not in it. Exit 3: some hosts did not
    answer, and it says so; 4: none did.

    Example:  mlops-infra doctor bundle --since 1d
    """
    from mlops_infra.app import doctor_bundle as use  # noqa: PLC0415
    from mlops_infra.app.context import open_site  # noqa: PLC0415
    from mlops_infra.app.hosts import chosen  # noqa: PLC0415
    from mlops_infra.app.logs import parse_since  # noqa: PLC0415
    from mlops_infra.app.reach import transport_of  # noqa: PLC0415
    from mlops_infra.doctor.scrub import Scrubber  # noqa: PLC0415
    from mlops_infra.ui.doctor_page import index_page  # noqa: PLC0415
    from mlops_infra.ui.output import Output  # noqa: PLC0415

    options = options_of(ctx)
    out = Output(as_json=options.json, verbose=options.verbose)
    minutes = max(1, int(parse_since(since).total_seconds() // 60))
    context = open_site(options.config, options.lab)
    hosts = chosen(context, options.limit)
    path = out_file or use.default_path(context.cluster, datetime.now(UTC))
    scrub = Scrubber(use.known_secrets(context))
    out.aside(f"collecting from {len(hosts)} hosts, for at most {seconds:.0f} s")
    # Two looks at once, and one question for the password.
    password = use.asked_once(lambda: out.ask_secret("sudo password"))
    examined = use.in_background(lambda: _examine(options, password))
    with closing(transport_of(context, password)) as transport:
        found = use.collect(context, transport, hosts, use.Bounds(seconds, size << 20, minutes), scrub)
    diagnosis = examined(seconds - found.seconds)
    why = diagnosis.brief if isinstance(diagnosis, InfraError) else f"It had not ended within {seconds:.0f} s."
    diagnosis = None if diagnosis is None or isinstance(diagnosis, InfraError) else diagnosis.scrubbed(scrub)
    found.files |= use.local_files(context, scrub)
    pages = _pages(diagnosis)
    pages["index.html"] = index_page(found, diagnosis, why, pages)
    written = use.archive(path, found, {name: scrub(text) for name, text in pages.items()})
    missing = dict(found.missing)
    out.text(f"{path}: {written / 1e6:.1f} MB, {len(found.files)} files; open index.html in it")
    for who, reason in missing.items():
        out.aside(f"not in it: {who}: {reason}")
    silent = sum(f"hosts/{name}" in missing for name in hosts)
    code = ExitCode.DONE if not silent else ExitCode.UNREACHABLE if silent == len(hosts) else ExitCode.PARTLY
    out.answer(
        {
            "file": str(path),
            "size": written,
            "files": sorted([*pages, *found.files]),
            "missing": missing,
            "cut": found.cut,
            "seconds": round(found.seconds, 1),
        }
    )
    return code


def _examine(options: Options, password: Callable[[], Secret]) -> Any:
    from mlops_infra.app.doctor import examine  # noqa: PLC0415
    from mlops_infra.app.platform import Asked, open_platform  # noqa: PLC0415

    with open_platform(
        Asked(options.config, options.lab, options.limit),
        emit=lambda event: None,
        ask_sudo_password=password,
    ) as platform:
        return examine(platform)


def _pages(diagnosis: Any) -> dict[str, str]:
    from mlops_infra.app.doctor import diagnosis_shape  # noqa: PLC0415
    from mlops_infra.ui.console import Style  # noqa: PLC0415
    from mlops_infra.ui.doctor import diagnosis_text  # noqa: PLC0415

    if diagnosis is None:
        return {}
    return {
        "doctor.txt": diagnosis_text(diagnosis, Style(), all_lines=True) + "\n",
        "doctor.json": json.dumps(diagnosis_shape(diagnosis), indent=1, default=str) + "\n",
    }
