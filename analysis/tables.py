"""One look for every table: Markdown, and a page of HTML that stands alone."""

from __future__ import annotations

from html import escape
from pathlib import Path

import pandas as pd

from pose.support.files import write_file

NOT_RUN = "not run"
SHADED = ("paper", "measured", "recomputed")
MUTED = ("dataset", "input", "protocol", "evaluator", "reason")


def mean_and_spread(scores: pd.Series) -> str:
    """A score over seeds: ``"57.5"``, ``"57.5 ± 0.4"`` or ``NOT_RUN``."""
    known = scores.dropna()
    if known.empty:
        return NOT_RUN
    spread = f" ± {known.std():.1f}" if len(known) > 1 else ""
    return f"{known.mean():.1f}{spread}"


def write_table(table: pd.DataFrame, folder: Path, name: str, title: str, note: str) -> None:
    """Write a table of text as ``name.md`` and ``name.html``; ``title`` and ``note`` caption it."""
    markdown = table.to_markdown(index=False, disable_numparse=True)
    write_file(folder / f"{name}.md", f"**{title}.** {note}\n\n{markdown}\n")
    write_file(folder / f"{name}.html", to_html(table, title, note))


def write_csv(table: pd.DataFrame, path: Path) -> None:
    """Write a table of numbers without its index."""
    write_file(path, table.to_csv(index=False))


def to_html(table: pd.DataFrame, title: str, note: str) -> str:
    """A standalone page: no script, font or style from elsewhere."""
    head = "".join(f"<th{_css(name)}>{escape(name)}</th>" for name in table)
    body = "".join(
        "<tr>" + "".join(f"<td{_css(name)}>{escape(row[name])}</td>" for name in table) + "</tr>\n"
        for _, row in table.iterrows()
    )
    return PAGE.format(title=escape(title), note=escape(note), head=head, body=body)


def _css(column: str) -> str:
    kind = column.split()[0]
    return f' class="{kind}"' if kind in SHADED + MUTED else ""


PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<title>{title}</title>
<style>
body {{ font: 14px/1.45 system-ui, sans-serif; color: #222; margin: 2rem; }}
table {{ border-collapse: collapse; font-variant-numeric: tabular-nums; }}
caption {{ text-align: left; max-width: 60rem; padding-bottom: 1rem; }}
th, td {{ padding: .4rem .7rem; text-align: center; white-space: nowrap; }}
th {{ border-top: 2px solid #222; border-bottom: 1px solid #222; vertical-align: bottom;
     white-space: normal; font-weight: 600; max-width: 7rem; }}
tbody tr:last-child td {{ border-bottom: 2px solid #222; }}
tbody tr:hover {{ background: #f4f4f4; }}
.paper {{ background: #eef1f5; }}
.measured, .recomputed {{ background: #fbeeee; }}
td.dataset, td.input, td.protocol, td.evaluator {{ color: #666; font-size: .9em; }}
td.protocol, td.reason {{ white-space: normal; font-size: .75em; text-align: left;
     min-width: 16rem; }}
</style>
</head>
<body>
<table>
<caption><b>{title}.</b> {note}</caption>
<thead><tr>{head}</tr></thead>
<tbody>
{body}</tbody>
</table>
</body>
</html>
"""
