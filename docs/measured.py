"""Writes what of ``results/measured`` people read: ``python docs/measured.py [--check]``.

The page of that folder, and the demo's table in the top README.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pandas as pd

sys.path.insert(0, str(Path(__file__).parent.parent))

from analysis import reported
from analysis.measured import FOLDER
from pose.config.model_sheet import ablation, model_sheet, switches
from pose.support.errors import command
from workflow.document import write_or_check

README = Path(__file__).parents[1] / "README.md"
BLOCK = re.compile(r"(<!-- made by docs/measured.py -->\n).*?(\n<!-- end -->)", re.DOTALL)
HIDDEN = {"identity", "data", "code_train", "source", "versions"}
INTRODUCTION = """# Measured numbers

Made by `python docs/measured.py`; do not edit. The CSV files have all columns, described in
[docs/results.md](../../docs/results.md); their names say data set, protocol and device. Scores in
percent. This folder is in git and is not to be deleted; no config may be called `measured`.

    python -m analysis.measured results/NAME --command "what makes it again"

adds the runs of a results folder, or the rows of a CSV file of `pose.bench`, in place of what is
there of them.
"""


def page() -> str:
    """The text of ``results/measured/README.md``."""
    parts = [INTRODUCTION]
    for file in sorted(FOLDER.glob("*.csv")):
        table = pd.read_csv(file, dtype=str)
        table = table[[name for name in table if name not in HIDDEN]]
        shared = {name: values.iloc[0] for name, values in table.items() if _is_one(values)}
        own = table.drop(columns=list(shared)).fillna("-")
        said = "; ".join(f"{name}: {value}" for name, value in shared.items())
        parts.append(f"\n## `{file.name}`\n\n{said}.\n\n{own.to_markdown(index=False)}\n")
    return "".join(parts)


def _is_one(values: pd.Series) -> bool:
    return len(values) > 1 and values.notna().all() and values.nunique() == 1


def demo_table() -> str:
    """The orders on rendered people with the demo's seed, of all that ``make demo`` measured."""
    files = sorted(FOLDER.glob("synthetic-controlled-*.csv"))
    of_demo = "seed == 0 and command.str.startswith('make demo')"
    runs = pd.concat([pd.read_csv(file).query(of_demo) for file in files] or [pd.DataFrame()])
    paper, sheet, rows = reported.ablation().rename(index=str), model_sheet(), []
    for order, model in ablation(sheet).items():
        row = {"order": order}
        for switch, value in switches(sheet[model]).items():
            row[f"MEMe {switch}"] = {"meme": "✓", "plain": "✗"}.get(value, value)
        own = runs[runs["model"] == model] if len(runs) else runs
        row["params (M)"] = f"{own['params'].iloc[0] / 1e6:.3f}" if len(own) else "-"
        for size in runs.get("counted_input", pd.Series(dtype=str)).dropna().unique():
            own_cost = own[own["counted_input"] == size]["gmacs"]
            row[f"GMACs at {size}"] = f"{own_cost.iloc[0]:.3f}" if len(own_cost) else "-"
        row["paper AP (COCO val)"] = f"{paper['AP'].get(order, float('nan')):.1f}"
        for boxes in ("gt", "det"):
            scores = own[own["boxes"] == boxes]["AP"] if len(own) else own
            shown = f"{scores.mean():.1f}" if len(scores) else "not run"
            row[f"measured AP, {boxes} boxes (rendered people)"] = shown
        rows.append(row)
    return pd.DataFrame(rows).to_markdown(index=False, disable_numparse=True)


@command
def main(argv: list[str] | None = None) -> None:
    text = README.read_text()
    readme = BLOCK.sub(lambda found: found[1] + demo_table() + found[2], text)
    pages = {FOLDER / "README.md": page(), README: readme}
    write_or_check(pages, "python docs/measured.py", argv)


if __name__ == "__main__":
    main()
