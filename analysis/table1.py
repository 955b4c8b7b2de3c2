"""Table 1: the orders of the ablation, what the paper reports of them beside what was measured.

Reported and measured numbers never share a column, and measured numbers of different data sets,
inputs, protocols or evaluators never share a row. The CSV has a row per run; the Markdown and the
HTML have a row per order, with mean ± standard deviation where there are several seeds.
"""

from __future__ import annotations

from pathlib import Path

from pose.config.model_sheet import FILE, Sheet, read_sheet
from pose.support import cli
from pose.support.errors import PoseError, command


def command_line() -> cli.Parser:
    """The options."""
    parser = cli.parser("analysis.table1", __doc__)
    parser.add_argument("--metrics", type=Path, nargs="+", required=True, help="metrics_*.json")
    parser.add_argument("--complexity", type=Path, required=True, help="complexity.csv")
    parser.add_argument("--models", type=Path, default=FILE, help="default: config/models.tsv")
    parser.add_argument("--output-dir", type=cli.output_folder, required=True)
    return parser


cli.answer_early(__name__, command_line)

import pandas as pd

from analysis import reported, tables
from analysis.ablation import orders_of, with_orders
from analysis.code_mix import mixed_code
from analysis.results import PCKH, describe, is_full_coco, read_complexity, read_metrics

PROVENANCE = ["dataset", "input", "protocol", "evaluator"]
MARKS = {"meme": "✓", "plain": "✗"}
FLAGS = {"meme": True, "plain": False}
PAPER = {"AP": "paper AP (COCO val)", "AR": "paper AR (COCO val)"}


def ablation_table(metrics: pd.DataFrame, complexity: pd.DataFrame, sheet: Sheet) -> pd.DataFrame:
    """The table with a row per run, and a row of NaNs for an order without runs.

    Its orders are those of ``sheet``, also where the paper has no number. Raises PoseError if no
    metrics are of an order, or two are of the same run.
    """
    paper = reported.ablation().rename(index=str, columns=PAPER)[list(PAPER.values())]
    cost = with_orders(complexity, sheet)
    params = cost.groupby("order")["params"].first() / 1e6
    gmacs = cost.pivot_table(index="order", columns="input", values="gmacs_fvcore")
    gmacs.columns = [f"GMACs (fvcore, {size})" for size in gmacs]
    table = _switches(sheet).join(paper).join(_measured(metrics, sheet))
    table = table.join(params.rename("params (M)")).join(gmacs)
    tail = [*PROVENANCE, "seed"]
    return table[[*table.columns.drop(tail), *tail]].reset_index()


def _switches(sheet: Sheet) -> pd.DataFrame:
    """The switches' values, in columns that are named for MEMe where one of them is MEMe's."""
    orders = orders_of(sheet)
    return orders.rename(
        columns={name: f"MEMe {name}" for name in orders if "meme" in orders[name].values}
    )


def _measured(metrics: pd.DataFrame, sheet: Sheet) -> pd.DataFrame:
    """Scores of every run in one column per metric and kind of boxes, indexed by order."""
    ours = with_orders(metrics, sheet)
    if ours.empty:
        raise PoseError("no metrics of an order of the ablation: evaluate at least one of them")
    keys = ["order", *PROVENANCE, "seed"]
    twice = ours[ours.duplicated([*keys, "boxes"])]
    if len(twice):
        run = twice.iloc[0]
        raise PoseError(f"two metrics files for {run.model} seed {run.seed}, {run.boxes} boxes")
    columns = {}
    for boxes in ("gt", "det"):
        for score in (PCKH, "AP", "AR"):
            rows = ours[ours["boxes"] == boxes]
            if score in rows and rows[score].notna().any():
                columns[f"measured {score}, {boxes} boxes"] = rows.set_index(keys)[score]
    return pd.DataFrame(columns).sort_index().reset_index(keys[1:])


def summarise(table: pd.DataFrame) -> pd.DataFrame:
    """One row of text per order and provenance: scores averaged over seeds, switches as marks."""
    rows = []
    for _, runs in table.groupby(["order", *PROVENANCE], dropna=False, sort=False):
        rows.append({column: _cell(column, runs[column]) for column in runs})
    return pd.DataFrame(rows)


def _cell(column: str, values: pd.Series) -> str:
    known = values.dropna()
    if column.startswith("measured"):
        return tables.mean_and_spread(values)
    if known.empty:
        return "-"
    if column == "seed":
        return ", ".join(str(int(seed)) for seed in known)
    if column.startswith("paper"):
        return f"{known.iloc[0]:.1f}"
    if column.startswith(("params", "GMACs")):
        return f"{known.iloc[0]:.3f}"
    return MARKS.get(known.iloc[0], str(known.iloc[0]))


def caption(metrics: pd.DataFrame, sheet: Sheet) -> str:
    """What was reported where, what was measured on what, and what may not be compared."""
    ours = with_orders(metrics, sheet)
    text = (
        "Ablation of MEMe: the orders of EEffPose-P0. All scores in percent. "
        "The paper's columns: Table 1 of Li et al., Sensors 2022, 22, 632 (COCO val2017, 256x192). "
        f"Measured columns: {describe(ours)}."
    )
    if ours["seed"].nunique() > 1:
        text += " Mean ± standard deviation over seeds."
    if is_full_coco(ours):
        return text
    return (
        f"{text} A number measured on another data set, or on a part of COCO, must not be "
        "compared with the paper's COCO number; only the orders may be compared with each other."
    )


def _write_csv(table: pd.DataFrame, file: Path) -> None:
    shown = table.round(3).astype({"seed": "Int64"}).replace(FLAGS)
    for kind, absent in (("measured", tables.NOT_RUN), ("paper", "-")):
        columns = [column for column in shown if column.startswith(kind)]
        shown[columns] = shown[columns].astype(object).fillna(absent)
    tables.write_csv(shown, file)


@command
def main(arguments: list[str] | None = None) -> None:
    options = command_line().parse_args(arguments)

    metrics, sheet = read_metrics(options.metrics), read_sheet(options.models)
    table = ablation_table(metrics, read_complexity(options.complexity), sheet)
    text = caption(metrics, sheet) + mixed_code(with_orders(metrics, sheet))
    tables.write_table(summarise(table), options.output_dir, "table1", "Table 1", text)
    _write_csv(table, options.output_dir / "table1.csv")


if __name__ == "__main__":
    main()
