"""One look for every table: Markdown, LaTeX (booktabs), and a page of HTML that stands alone.

A column is a name, or a pair (group, name): neighbours of one group stand under a common heading.
"""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from itertools import groupby
from pathlib import Path

import pandas as pd

from pose.support.files import write_file

NOT_RUN = "not run"
SHADED = ("paper", "measured", "recomputed")
MUTED = ("dataset", "input", "protocol", "evaluator", "reason", "val")
LATEX = {
    **{"±": r"$\pm$", "†": r"$\dagger$", "✓": r"$\checkmark$", "✗": r"$\times$"},
    **{"\u00d7": r"$\times$", "\u2212": "$-$", "≥": r"$\geq$", "≤": r"$\leq$"},
}


def write_table(
    table: pd.DataFrame,
    folder: Path,
    name: str,
    title: str,
    note: str,
    footnotes: Sequence[str] = (),
) -> None:
    """Write a table of text as ``name.md``, ``name.html`` and ``name.tex``.

    ``title`` and ``note`` stand above it, ``footnotes`` below.
    """
    pages = {"md": to_markdown, "html": to_html, "tex": to_latex}
    for suffix, page in pages.items():
        write_file(folder / f"{name}.{suffix}", page(table, title, note, footnotes))


def write_csv(table: pd.DataFrame, path: Path) -> None:
    """Write a table of numbers without its index."""
    write_file(path, table.to_csv(index=False))


def to_markdown(table: pd.DataFrame, title: str, note: str, footnotes: Sequence[str] = ()) -> str:
    """A table of GitHub's Markdown."""
    flat = table.set_axis([" ".join(filter(None, pair)) for pair in _pairs(table)], axis=1)
    rows = flat.to_markdown(index=False, disable_numparse=True)
    below = "".join(f"\n- {text}" for text in footnotes)
    return f"**{title}.** {note}\n\n{rows}\n{below and below + chr(10)}"


def to_latex(table: pd.DataFrame, title: str, note: str, footnotes: Sequence[str] = ()) -> str:
    """A table environment for ``\\input``, with the packages booktabs and amssymb."""
    pairs = _pairs(table)
    lines = [
        "% needs \\usepackage{booktabs,amssymb}",
        "\\begin{table*}",
        f"\\caption{{\\textbf{{{_latex(title)}.}} {_latex(note)}}}",
        f"\\begin{{tabular}}{{{'l' + 'c' * (len(pairs) - 1)}}}",
        "\\toprule",
    ]
    if any(group for group, _ in pairs):
        cells, rules, column = [], [], 1
        for group, members in groupby(pairs, key=lambda pair: pair[0]):
            width = len(list(members))
            cells.append(f"\\multicolumn{{{width}}}{{c}}{{{_latex(group)}}}")
            rules += [f"\\cmidrule(lr){{{column}-{column + width - 1}}}"] if group else []
            column += width
        lines += [f"{' & '.join(cells)} \\\\", " ".join(rules)]
    lines += [f"{' & '.join(_latex(name) for _, name in pairs)} \\\\", "\\midrule"]
    lines += [f"{' & '.join(map(_latex, row))} \\\\" for row in table.to_numpy()]
    below = [f"\\par\\smallskip {_latex(text)}" for text in footnotes]
    lines += ["\\bottomrule", "\\end{tabular}", *below, "\\end{table*}"]
    return "\n".join(lines) + "\n"


def _latex(text: object) -> str:
    """``text`` with LaTeX's special characters escaped."""
    escaped = str(text).replace("\\", "\\textbackslash ")
    for sign in "&%$#_{}":
        escaped = escaped.replace(sign, f"\\{sign}")
    escaped = escaped.replace("~", "\\textasciitilde ").replace("^", "\\^{}")
    for sign, command in LATEX.items():
        escaped = escaped.replace(sign, command)
    return escaped


def to_html(table: pd.DataFrame, title: str, note: str, footnotes: Sequence[str] = ()) -> str:
    """A standalone page: no script, font or style from elsewhere."""
    pairs = _pairs(table)
    groups = ""
    if any(group for group, _ in pairs):
        spans = [(group, len(list(own))) for group, own in groupby(pairs, key=lambda p: p[0])]
        cells = (f'<th colspan="{width}">{escape(group)}</th>' for group, width in spans)
        groups = f'<tr class="groups">{"".join(cells)}</tr>'
    head = "".join(f"<th{_css(name)}>{escape(name)}</th>" for _, name in pairs)
    body = "".join(
        "<tr>"
        + "".join(
            f"<td{_css(name)}>{escape(cell)}</td>"
            for (_, name), cell in zip(pairs, row, strict=True)
        )
        + "</tr>\n"
        for row in table.to_numpy()
    )
    below = "".join(f"<li>{escape(text)}</li>\n" for text in footnotes)
    return PAGE.format(
        title=escape(title),
        note=escape(note),
        head=f"{groups}<tr>{head}</tr>",
        body=body,
        notes=below and f"<ul>\n{below}</ul>\n",
    )


def _pairs(table: pd.DataFrame) -> list[tuple[str, str]]:
    """Group, "" for none, and name of every column."""
    return [name if isinstance(name, tuple) else ("", name) for name in table]


def _css(column: str) -> str:
    kind = "measured" if column in ("gt boxes", "det boxes") else column.split()[0]
    return f' class="{kind}"' if kind in SHADED + MUTED else ""


PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>
body {{ font: 14px/1.45 system-ui, sans-serif; color: #222; margin: clamp(.8rem, 2vw, 2rem); }}
p, ul {{ max-width: 60rem; }}
ul {{ padding-left: 1.2rem; color: #555; font-size: .9em; }}
.scroll {{ overflow-x: auto; }}
table {{ border-collapse: separate; border-spacing: 0; font-variant-numeric: tabular-nums; }}
th, td {{ padding: .35rem .5rem; text-align: center; white-space: nowrap; }}
th {{ border-bottom: 1px solid #222; vertical-align: bottom; white-space: normal;
     font-weight: 600; max-width: 7rem; }}
thead tr:first-child th {{ border-top: 2px solid #222; }}
.groups th {{ border-bottom: none; padding-bottom: 0; }}
.groups th:not(:empty) {{ border-bottom: 1px solid #999; }}
tbody tr:last-child td {{ border-bottom: 2px solid #222; }}
tbody tr:hover td {{ background: #f4f4f4; }}
th:first-child, td:first-child {{ position: sticky; left: 0; background: #fff; text-align: left; }}
.paper {{ background: #eef1f5; }}
.measured, .recomputed {{ background: #fbeeee; }}
td.dataset, td.val, td.input, td.protocol, td.evaluator {{ color: #666; font-size: .9em; }}
td.protocol, td.reason {{ white-space: normal; font-size: .75em; text-align: left;
     min-width: 16rem; }}
</style>
</head>
<body>
<p><b>{title}.</b> {note}</p>
<div class="scroll"><table>
<thead>{head}</thead>
<tbody>
{body}</tbody>
</table></div>
{notes}</body>
</html>
"""
