"""Tables 1 to 4: what the paper reports, and what was counted and measured here beside it.

A row is one model at one input in one setting (:data:`SETTING`). Reported and measured numbers
never share a column. Tables 2 to 4 have every row of the paper, run or not, and below them the runs
that it has no row for; Table 1 has the orders that were counted or run.

The CSV holds numbers only: of each score what the paper prints, and for each source of boxes mean,
deviation and number over seeds, with the difference where the two may be compared.
"""

from __future__ import annotations

from analysis.options import add_presentation
from pose.config.datasets import DATASETS
from pose.config.model_sheet import Sheet, ablation, read_sheet, reconstructions, switches
from pose.support import cli
from pose.support.errors import PoseError, command


def command_line() -> cli.Parser:
    """The options."""
    parser = cli.parser("analysis.comparison", __doc__)
    parser.add_argument("number", type=int, choices=range(1, 5), help="of the paper's table")
    add_presentation(parser)
    return parser


cli.answer_early(__name__, command_line)

import pandas as pd

from analysis import comparison_text, reported, tables
from analysis.ablation import require_listed
from analysis.code_mix import mixed_code
from analysis.results import PCKH, at_input, load_costs, load_results
from analysis.verdict import verdict
from pose.datasets import dataset_of

COCO_SCORES = ("AP", "AP50", "AP75", "APM", "APL", "AR")
SCORES = {1: ("AP", "AR"), 2: COCO_SCORES, 3: COCO_SCORES, 4: (PCKH, "PCKh@0.1", "PCKh@0.11")}
VAL_SETS = {1: "COCO val2017", 2: "COCO val2017", 3: "COCO test-dev2017", 4: "MPII val"}
"""What the paper's scores are on."""
JOINTS = {1: 17, 2: 17, 3: 17, 4: 16}
ABLATION_INPUT = "256x192"
BOXES, ENDS = ("gt", "det"), ("low", "high")
SETTING = ["val_set", "protocol", "batch", "precision", "batch_norm", "evaluator"]
"""What a measured row holds for, besides model and input."""


def compare(number: int, results: pd.DataFrame, costs: pd.DataFrame, sheet: Sheet) -> pd.DataFrame:
    """The numbers of one of the paper's tables: see the module.

    ``results`` and ``costs`` are those of :func:`load_results` and :func:`load_costs`, ``sheet`` is
    ``config/models.tsv``. Raises PoseError for a model that it does not have, and for two results
    of the same seed in one row.
    """
    require_listed(results, sheet)
    runs = runs_of(number, results)
    scores = scores_of(number, runs)
    ours = _measured(runs, scores)
    if number == 1:
        table = _orders(sheet, {*runs["model"], *costs["model"]}, scores)
        table = table.merge(ours, how="left", on="model")
    else:
        table = _below(_paper(number, scores), ours)
    table = table.join(_counted(table, costs, JOINTS[number])).astype({"batch": "Int64"})
    if number > 1:  # nothing of another input stands beside the paper's
        table["gmacs"] = table["gmacs"].where(table["counted_input"] == table["input"])
        table = table.drop(columns="counted_input")
    comparable = table["val_set"] == VAL_SETS[number]
    if number == 1:
        comparable &= table["input"] == ABLATION_INPUT
    for score in scores:
        for boxes in BOXES:
            if f"{score} {boxes} mean" in table and f"{score} paper" in table:
                apart = table[f"{score} {boxes} mean"] - table[f"{score} paper"]
                table[f"{score} {boxes} difference"] = apart.where(comparable)
    rows = zip(table.to_dict("records"), comparable, strict=True)
    table["verdict"] = [_verdict(row, scores[0], may) for row, may in rows]
    return table.assign(reconstruction=table["model"].isin(reconstructions(sheet)))


def runs_of(number: int, results: pd.DataFrame) -> pd.DataFrame:
    """The results that a table shows: Table 1 the orders', by AP where any has it, else by PCKh."""
    split = "test-dev" if number == 3 else "val"
    shown = results[results["split"].fillna("val") == split]
    metric = 4 if number == 4 else 2
    if number == 1:
        shown = shown[shown["order"].notna()]
        metric = 4 if shown["AP"].isna().all() and shown[PCKH].notna().any() else 2
    datasets = [name for name in DATASETS if dataset_of(name).table == metric]
    return shown[shown["dataset"].isin(datasets)]


def scores_of(number: int, runs: pd.DataFrame) -> tuple[str, ...]:
    """The scores of a table, the main one first."""
    return (PCKH,) if number == 1 and runs[PCKH].notna().any() else SCORES[number]


def _measured(runs: pd.DataFrame, scores: tuple[str, ...]) -> pd.DataFrame:
    """A row per model, input and setting: mean, deviation and number of its seeds' scores."""
    keys = ["model", "input", *SETTING]
    twice = runs[runs.duplicated([*keys, "seed", "boxes", "checkpoint"])]
    for run in twice.head(1).itertuples():
        raise PoseError(
            f"two results for {run.model} seed {run.seed}, {run.boxes} boxes, one of them in"
            f" {run.folder}; leave one out"
        )
    rows = []
    for values, group in runs.groupby(keys, dropna=False, sort=False):
        row = dict(zip(keys, values, strict=True))
        row["seeds"] = ", ".join(map(str, sorted(group["seed"].dropna().unique())))
        row["submission"] = ", ".join(sorted(group["submission"].dropna().unique()))
        for boxes in BOXES:
            of_boxes = group[group["boxes"] == boxes]
            for score in scores:
                own, name = of_boxes[of_boxes[score].notna()], f"{score} {boxes}"
                if own.empty:
                    continue
                row |= {f"{name} mean": own[score].mean(), f"{name} sd": own[score].std()}
                row[f"{name} n"] = len(own)
                if len(own) == 1 and own.get(f"{score}_low", own[score][:0]).notna().any():
                    row |= {f"{name} {end}": own[f"{score}_{end}"].iloc[0] for end in ENDS}
        rows.append(row)
    return pd.DataFrame(rows, columns=None if rows else [*keys, "seeds", "submission"])


def _orders(sheet: Sheet, models: set[str], scores: tuple[str, ...]) -> pd.DataFrame:
    """The orders among ``models``: their switches, and the paper's scores of the same metric."""
    rows = [
        {"order": order, "model": model} | switches(sheet[model])
        for order, model in ablation(sheet).items()
        if model in models
    ]
    if not rows:
        raise PoseError("no results of an order of the ablation: train at least one of them")
    paper = reported.ablation().rename(index=str)
    paper = paper[[score for score in scores if score in paper]].add_suffix(" paper")
    return pd.DataFrame(rows).join(paper, on="order")


def _paper(number: int, scores: tuple[str, ...]) -> pd.DataFrame:
    """The rows of Table 2, 3 or 4, under the names that their models have here."""
    table = reported.comparison(number)
    named = {"params_m": "params paper", "gflops": "gflops paper"}
    named |= {score: f"{score} paper" for score in scores if score in table}
    kept = [name for name in ("method", "backbone", "model", "input", "note") if name in table]
    return table[[*kept, *named]].rename(columns=named)


def _below(paper: pd.DataFrame, ours: pd.DataFrame) -> pd.DataFrame:
    """The paper's rows with what was measured, then the runs that it has no row for."""
    keys = ["model", "input"]
    table = paper.merge(ours, how="outer", on=keys)
    place = {key: k for k, key in enumerate(zip(paper["model"], paper["input"], strict=True))}
    own = [place.get(key, len(place)) for key in zip(table["model"], table["input"], strict=True)]
    table = table.assign(place=own).sort_values(["place", *keys], kind="stable")
    return table.drop(columns="place").reset_index(drop=True)


def _counted(table: pd.DataFrame, costs: pd.DataFrame, joints: int) -> pd.DataFrame:
    """Parameters in millions, and multiply-adds in 1e9 at ``counted_input``, of each row.

    That is the row's own input if the model was counted there, else whatever it was counted at.
    """
    named = zip(table["model"], table["input"], strict=True)
    rows = [at_input(costs, model, size, joints) for model, size in named]
    counted = pd.DataFrame(rows, columns=["params", "gmacs_fvcore", "input"], index=table.index)
    counted["params"] = counted["params"].astype(float) / 1e6
    return counted.rename(columns={"gmacs_fvcore": "gmacs", "input": "counted_input"})


def _verdict(row: dict, score: str, comparable: bool) -> str:
    """By the detector's boxes where a row has a score in them, else by the annotated ones."""
    name = f"{score} {'det' if pd.notna(row.get(f'{score} det mean')) else 'gt'}"
    ends = (row.get(f"{name} {end}") for end in ENDS)
    return verdict(row.get(f"{score} paper"), row.get(f"{name} mean"), comparable, *ends)


@command
def main(arguments: list[str] | None = None) -> None:
    options = command_line().parse_args(arguments)

    sheet, number = read_sheet(options.models), options.number
    results = load_results(*options.places, models=options.models)
    table = compare(number, results, load_costs(*options.places), sheet)
    text, note, footnotes = comparison_text.present(number, table, sheet)
    note += mixed_code(runs_of(number, results))
    name, title = f"table{number}", f"Table {number}"
    tables.write_table(text, options.output_dir, name, title, note, footnotes)
    tables.write_csv(table.round(4), options.output_dir / f"{name}.csv")


if __name__ == "__main__":
    main()
