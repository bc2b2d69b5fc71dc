"""The first page of a support bundle: HTML that needs nothing but a browser, offline."""

from __future__ import annotations

from collections.abc import Iterable
from html import escape

from mlops_infra.app.doctor_bundle import Collected
from mlops_infra.doctor.diagnosis import Diagnosed, Diagnosis

__all__ = ["index_page"]

_HEAD = """<!doctype html>
<html lang="en"><head><meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<title>{title}</title>
<style>
body {{ font: 15px/1.5 system-ui, sans-serif; max-width: 70em; margin: 2em auto; padding: 0 1em; color: #222 }}
pre {{ background: #f4f4f4; padding: .6em; overflow-x: auto; font-size: 13px }}
.finding {{ border-left: 4px solid #d98f00; padding-left: 1em; margin: 1.2em 0 }}
.critical, .error {{ border-color: #c22 }}
.note {{ color: #666 }}
td, th {{ padding: .1em 1em .1em 0; text-align: left; vertical-align: top }}
</style></head><body>
"""


def index_page(found: Collected, diagnosis: Diagnosis | None, why_none: str = "", listed: Iterable[str] = ()) -> str:
    """`diagnosis` is None where there was none in time, `why_none` says so. `listed`: pages beside the files."""
    title = f"{found.cluster}: support bundle of {found.at:%Y-%m-%d %H:%M:%S} UTC"
    parts = [_HEAD.format(title=escape(title)), f"<h1>{escape(title)}</h1>"]
    parts.append(
        f'<p class="note">Collected in {found.seconds:.0f} s; {found.size / 1e6:.1f} MB of text. Secrets were taken '
        "out and stand as ********; look at it yourself before you give it away.</p>"
    )
    parts += _missing(found)
    parts.append("<h2>What the doctor says</h2>")
    if diagnosis is None:
        parts.append(f"<p>{escape(why_none or 'It was not asked.')}</p>")
    elif not diagnosis.findings:
        parts.append("<p>No finding.</p>")
    else:
        parts += [_finding(one) for one in diagnosis.findings]
    parts.append("<h2>Files</h2>")
    parts += _files([*listed, *found.files], found)
    return "\n".join([*parts, "</body></html>", ""])


def _missing(found: Collected) -> list[str]:
    rows = [f"<tr><td>{escape(who)}</td><td>{escape(why)}</td></tr>" for who, why in found.missing.items()]
    rows += [f"<tr><td>{escape(who)}</td><td>not whole: time or room ran out</td></tr>" for who in found.cut]
    return ["<h2>What is not in it</h2>", "<table>", *rows, "</table>"] if rows else []


def _finding(one: Diagnosed) -> str:
    finding = one.finding
    where = f"{one.host}: " if one.host else ""
    lines = [f'<div class="finding {one.severity.word}"><b>{escape(where + finding.brief)}</b>']
    lines.append(f'<span class="note">{escape(one.severity.word)}, {escape(one.check)}</span>')
    lines += [f"<pre>{escape(finding.evidence)}</pre>"] if finding.evidence else []
    lines += [f"<p>Why: {escape(finding.cause)}</p>"] if finding.cause else []
    lines += [f"<p>Do: <code>{escape(finding.remedy)}</code></p>"] if finding.remedy else []
    if one.follows:
        items = "".join(
            f"<li>{escape(f'{f.host}: ' if f.host else '')}{escape(f.finding.brief)} ({escape(f.check)})</li>"
            for f in one.follows
        )
        lines.append(f"<p>This explains also:</p><ul>{items}</ul>")
    return "\n".join([*lines, "</div>"])


def _files(names: Iterable[str], found: Collected) -> list[str]:
    groups: dict[str, list[str]] = {}
    for name in sorted(names):
        directory, _, _ = name.rpartition("/")
        groups.setdefault(directory, []).append(name)
    lines = []
    for directory, inside in groups.items():
        if directory:
            lines.append(f"<h3>{escape(directory)}</h3>")
        links = [
            f'<a href="{escape(name, quote=True)}">{escape(name.rpartition("/")[2])}</a>'
            + (f' <span class="note">{len(found.files[name]) / 1000:.1f} kB</span>' if name in found.files else "")
            for name in inside
        ]
        lines.append("<p>" + " · ".join(links) + "</p>")
    return lines
