"""The page that holds the report: its head and its style, in light and in dark."""

from __future__ import annotations

import html
from collections.abc import Iterable
from pathlib import Path

_GENERATOR = '<meta name="generator" content="CryoTRANS">'


def is_report(path: Path) -> bool:
    with open(path, "rb") as file:
        return _GENERATOR.encode() in file.read(1000)


def escaped(text: str) -> str:
    return html.escape(text)


_STYLE = """
:root { color-scheme: light dark; --paper: #f6f6f4; --card: #fff; --ink: #22252a; --quiet: #646a73; --faint: #dfe1e4;
  --first: #1769aa; --second: #c2621b; --mark: #8a8f98; --good: #1d7d46; --doubtful: #a56a00; --poor: #b3261e; }
@media (prefers-color-scheme: dark) { :root { --paper: #15171a; --card: #1e2125; --ink: #e3e5e8; --quiet: #9aa1ab;
  --faint: #363b42; --first: #6db6f2; --second: #f0a263; --mark: #868d97; --good: #5fc98c; --doubtful: #e6b04d;
  --poor: #f2857d; } }
* { box-sizing: border-box }
body { margin: 0 auto; max-width: 1080px; padding: 28px 20px 48px; background: var(--paper); color: var(--ink);
  font: 15px/1.5 system-ui, "Segoe UI", Roboto, "Helvetica Neue", "DejaVu Sans", sans-serif }
header p { margin: 0; color: var(--quiet) }
h1 { margin: 0 0 18px; font-size: 26px; line-height: 1.25; overflow-wrap: anywhere }
h2 { margin: 0 0 8px; font-size: 18px }
h3 { margin: 18px 0 8px; font-size: 14px; color: var(--quiet); font-weight: 600 }
section { background: var(--card); border: 1px solid var(--faint); border-radius: 10px; padding: 18px 22px;
  margin: 0 0 16px }
section > p { margin: 0 0 8px }
.verdict { border-left: 8px solid var(--tone) }
.good { --tone: var(--good) } .doubtful { --tone: var(--doubtful) } .poor { --tone: var(--poor) }
.word { font-size: 17px } .word span { font-size: 28px; font-weight: 700; color: var(--tone); margin-right: 10px }
.verdict ul { margin: 4px 0 10px; padding-left: 20px }
.caveat, small, .head, .side { color: var(--quiet) }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums }
.measures td, .measures th { text-align: right; padding: 5px 10px; border-bottom: 1px solid var(--faint);
  vertical-align: top; font-weight: 400 }
.measures th[scope=row] { text-align: left; padding-left: 0; font-weight: 600 }
.measures th[scope=col] { color: var(--quiet) }
.measures tr > :nth-child(3) { font-weight: 700 }
small { display: block; font-size: 12.5px; font-weight: 400 }
.pictures { display: grid; grid-template-columns: 58px repeat(5, minmax(0, 1fr)); gap: 6px; align-items: center }
.pictures img { width: 100%; display: block; border-radius: 5px }
.three { grid-template-columns: repeat(3, minmax(0, 220px)); margin: 12px 0 0 }
.swatch { display: inline-block; width: 12px; height: 12px; border-radius: 3px; margin-right: 8px }
.head { text-align: center; font-size: 13px } .side { font-size: 13px }
.more { color: var(--second) } .less { color: var(--first) }
.charts { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(100%, 440px), 1fr)); gap: 18px 24px;
  margin-top: 12px }
figure { margin: 0 } figure svg { width: 100%; height: auto; display: block }
figure text { font-family: inherit !important }
figcaption { font-size: 14px; font-weight: 600; margin-bottom: 2px }
dl { display: grid; grid-template-columns: max-content 1fr; gap: 3px 22px; margin: 0 } dt { color: var(--quiet) }
dd { margin: 0; overflow-wrap: anywhere }
pre { background: var(--paper); padding: 10px 12px; border-radius: 6px; white-space: pre-wrap;
  overflow-wrap: anywhere; font-size: 13px; margin: 14px 0 0 }
@media (max-width: 620px) { dl { display: block } dd { margin-bottom: 6px }
  .pictures { grid-template-columns: repeat(5, minmax(0, 1fr)) } .pictures > span:first-child { display: none }
  .three { grid-template-columns: repeat(3, minmax(0, 1fr)) }
  .side { grid-column: 1 / -1 } .head { font-size: 10px } }
@media print { body { background: none } section { break-inside: avoid } }
"""


def page(title: str, sections: Iterable[str], style: str = "") -> str:
    """The whole file; `style` is added to that of all reports."""
    return (
        f'<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">{_GENERATOR}'
        f'<meta name="viewport" content="width=device-width, initial-scale=1"><title>{escaped(title)}</title>'
        f"<style>{_STYLE}{style}</style></head><body>"
        f"<header><p>CryoTRANS report</p><h1>{escaped(title)}</h1></header>\n"
        + "\n".join(section for section in sections if section)
        + "\n</body></html>\n"
    )
