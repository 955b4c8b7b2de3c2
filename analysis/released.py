"""The authors' checkpoints: the paper's score, the one recomputed here, and the difference.

One row per published checkpoint, with every score in percent. What was not evaluated says so, and
so does a row that was evaluated on a part of the val set only.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from pose.config.model_sheet import FILE, Sheet, ablation, read_sheet
from pose.support import cli
from pose.support.errors import PoseError, command


def command_line() -> cli.Parser:
    """The options."""
    parser = cli.parser("analysis.released", __doc__)
    parser.add_argument("--metrics", type=Path, nargs="+", required=True, help="metrics_*.json")
    parser.add_argument("--models", type=Path, default=FILE, help="default: config/models.tsv")
    parser.add_argument("--output-dir", type=cli.output_folder, required=True)
    return parser


cli.answer_early(__name__, command_line)

import pandas as pd

from analysis import reported, tables
from analysis.code_mix import mixed_code
from analysis.results import PCKH, read_metrics, val_set
from pose.weights.published import checkpoints, published_file

# Score -> the boxes with which it is recomputed; MPII's are part of the data set.
SCORES = {"AP": ("gt", "det"), "AR": ("gt", "det"), PCKH: ("gt",)}


def released_table(metrics: pd.DataFrame, sheet: Sheet) -> pd.DataFrame:
    """The table with a row per published checkpoint; NaN where nothing applies or was run.

    Raises PoseError for metrics of an unknown checkpoint, and for two of the same kind.
    """
    ours = {boxes: _measured(metrics, boxes) for boxes in ("gt", "det")}
    published = _published(sheet)
    table = published[["input"]].copy()
    for score, kinds in SCORES.items():
        table[f"paper {score}"] = published[score]
        for boxes in kinds:
            what = f"{score}, {boxes} boxes"
            table[f"recomputed {what}"] = ours[boxes][score]
            table[f"difference {what}"] = ours[boxes][score] - published[score]
    for boxes, frame in ours.items():
        table[f"persons, {boxes} boxes"] = frame["persons"].astype("Int64")
    either = ours["gt"].combine_first(ours["det"])
    table["images"] = either["images"].astype("Int64")
    table["val set"] = either.apply(_val_set, axis="columns")
    table[["protocol", "evaluator"]] = either[["protocol", "evaluator"]]
    return table.reset_index()


def _measured(metrics: pd.DataFrame, boxes: str) -> pd.DataFrame:
    """The metrics of one kind of boxes, with a row for every published checkpoint."""
    ours = metrics[metrics["boxes"] == boxes].set_index("checkpoint")
    for name in ours.index:
        published_file(name)
    for name in ours.index[ours.index.duplicated()]:
        raise PoseError(f"two metrics files for {name}, {boxes} boxes")
    columns = ["dataset", *SCORES, "persons", "images", "protocol", "evaluator"]
    return ours.reindex(index=[file.name for file in checkpoints()], columns=columns)


def _published(sheet: Sheet) -> pd.DataFrame:
    """Model, data set, input and the paper's scores of each checkpoint."""
    coco, mpii = reported.coco_val(), reported.mpii_val()
    orders = reported.ablation().rename(index=str)
    coco = coco[coco["group"] == "ours"]  # the others' models stand there at several inputs
    paper = pd.concat(
        [
            orders.assign(model=orders.index.map(ablation(sheet)), dataset="coco"),
            coco.assign(model=coco["method"].str.lower(), dataset="coco"),
            mpii.assign(model=mpii["method"].str.lower(), dataset="mpii"),
        ]
    ).rename(columns={"PCKh50": PCKH})
    files = pd.DataFrame([vars(file) for file in checkpoints()])
    known = files[["name", "model", "dataset", "input"]].merge(
        paper[["model", "dataset", *SCORES]], how="left", validate="many_to_one"
    )
    return known.set_index("name").rename_axis("checkpoint")


def _val_set(row: pd.Series) -> str:
    return tables.NOT_RUN if pd.isna(row["dataset"]) else val_set(row)


def summarise(table: pd.DataFrame) -> pd.DataFrame:
    """The table as text: one decimal, differences with their sign."""
    return _mark_not_run(table, table.apply(lambda column: column.map(_format(column.name))))


def _mark_not_run(table: pd.DataFrame, shown: pd.DataFrame) -> pd.DataFrame:
    """Say "not run" where the paper has a score and nothing was recomputed."""
    for score, kinds in SCORES.items():
        for boxes in kinds:
            column = f"recomputed {score}, {boxes} boxes"
            not_run = table[f"paper {score}"].notna() & table[column].isna()
            shown[column] = shown[column].astype(object).mask(not_run, tables.NOT_RUN)
    return shown


def _format(column: str) -> Callable[[object], str]:
    sign = "+" if column.startswith("difference") else ""
    score = column.startswith(("paper", "recomputed", "difference"))

    def text(value: object) -> str:
        if pd.isna(value):
            return "-"
        return f"{round(value, 1) + 0.0:{sign}.1f}" if score else str(value)  # + 0.0: never -0.0

    return text


def caption(table: pd.DataFrame) -> str:
    """What stands beside what, and which rows may not be compared with the paper."""
    text = (
        "The authors' checkpoints. All scores in percent; difference = recomputed - paper. "
        "Paper: Tables 1, 2 and 4 of Li et al., Sensors 2022, 22, 632, which do not say with which "
        "boxes COCO's AP was taken; recomputed with ground-truth (gt) and a detector's (det) boxes."
    )
    partial = sorted({value for value in table["val set"] if " of " in value})
    if partial:
        text += (
            f" Not the paper's val set: {', '.join(partial)}. "
            "Such a row must not be compared with the paper; its difference means nothing."
        )
    return text


@command
def main(arguments: list[str] | None = None) -> None:
    options = command_line().parse_args(arguments)

    metrics = read_metrics(options.metrics, "checkpoint")
    table = released_table(metrics, read_sheet(options.models))
    title, text = "Released checkpoints", caption(table) + mixed_code(metrics)
    tables.write_table(summarise(table), options.output_dir, "released", title, text)
    numbers = _mark_not_run(table, table.round(3))
    tables.write_csv(numbers, options.output_dir / "released.csv")


if __name__ == "__main__":
    main()
