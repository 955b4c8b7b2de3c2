"""Tables 2, 3 and 4: the paper's comparisons, with what was counted and measured here beside them.

Every row of the paper's table stands there, run or not; runs that the paper has no row for follow.
Reported and measured numbers never share a column. Nobody outside the server can score test-dev:
for Table 3 the archive that goes to the server is named instead of a score.
"""

from __future__ import annotations

from pathlib import Path

from pose.config.datasets import DATASETS
from pose.config.model_sheet import FILE, Sheet, read_sheet, reconstructions
from pose.support import cli
from pose.support.errors import PoseError, command

TITLES = {2: "COCO val2017", 3: "COCO test-dev2017", 4: "MPII val"}


def command_line() -> cli.Parser:
    """The options."""
    parser = cli.parser("analysis.comparison", __doc__)
    parser.add_argument("number", type=int, choices=TITLES, help="of the paper's table")
    parser.add_argument("--metrics", type=Path, nargs="*", default=[], help="metrics_*.json")
    parser.add_argument(
        "--submissions", nargs="*", default=[], metavar="MODEL@HxW=FILE", help="test-dev's archives"
    )
    parser.add_argument("--complexity", type=Path, required=True, help="complexity.csv")
    parser.add_argument("--models", type=Path, default=FILE, help="default: config/models.tsv")
    parser.add_argument("--output-dir", type=cli.output_folder, required=True)
    return parser


cli.answer_early(__name__, command_line)

import pandas as pd

from analysis import reported, tables
from analysis.code_mix import mixed_code
from analysis.results import PCKH, read_complexity, read_metrics, val_set
from pose.datasets import dataset_of

SCORES = {2: ("AP", "AP50", "AP75", "APM", "APL", "AR"), 3: (), 4: (PCKH, "PCKh@0.1")}
JOINTS = {2: 17, 3: 17, 4: 16}  # keypoints of the data set that the paper's rows are on
PROVENANCE = ["val set", "protocol", "evaluator"]
KEYS = ["model", "input"]
COUNTED = [*KEYS, "num_keypoints"]
MARK = "†"


def comparison_table(
    number: int,
    metrics: pd.DataFrame,
    complexity: pd.DataFrame,
    sheet: Sheet,
    submissions: dict[tuple[str, str], str],
) -> pd.DataFrame:
    """The table of text: a row per row of the paper, then one per other run of its data set.

    ``metrics`` and ``complexity`` are :mod:`analysis.results`', ``sheet`` is ``config/models.tsv``;
    ``submissions`` maps (model, input) to the names of test-dev's archives. Raises PoseError for
    two metrics files of the same run.
    """
    paper = reported.comparison(number)
    measured = _measured(metrics, number)
    table = paper.merge(measured, how="outer", on=KEYS, sort=False)
    place = {key: row for row, key in enumerate(zip(paper["model"], paper["input"], strict=True))}
    table["place"] = [
        place.get(key, len(place)) for key in zip(table["model"], table["input"], strict=True)
    ]
    table = table.sort_values(["place", *KEYS], kind="stable").reset_index(drop=True)
    table["num_keypoints"] = table["num_keypoints"].fillna(JOINTS[number]).astype(int)
    cost = complexity.set_index(COUNTED)
    cost = cost.reindex(pd.MultiIndex.from_frame(table[COUNTED])).reset_index()
    shown = pd.DataFrame({"method": table["method"].fillna(table["model"])})
    rebuilt = table["model"].isin(reconstructions(sheet))
    shown["method"] += rebuilt.map({True: f" {MARK}", False: ""})
    shown["backbone"] = table["backbone"].fillna("-").replace("", "-")
    shown["input"] = table["input"]
    shown["paper params (M)"] = table["params_m"].map(_number(2))
    shown["counted params (M)"] = (cost["params"] / 1e6).map(_number(3))
    shown["paper GFLOPs"] = table["gflops"].map(_number(2))
    shown["counted GMACs (fvcore)"] = cost["gmacs_fvcore"].map(_number(3))
    for column in [c for c in paper if c in (*SCORES[2], PCKH)]:
        shown[f"paper {column}"] = table[column].map(_number(1))
    for column in [c for c in measured if c.startswith("measured")]:
        shown[column] = table[column].fillna(tables.NOT_RUN)
    if number == 3:
        keys = zip(table["model"], table["input"], strict=True)
        shown["submission to the server"] = [submissions.get(k, tables.NOT_RUN) for k in keys]
    else:
        shown[PROVENANCE] = table[PROVENANCE].fillna("-")
    return shown


def _measured(metrics: pd.DataFrame, number: int) -> pd.DataFrame:
    """Scores over seeds as text, a row per model, input and provenance."""
    joints = {
        name: len(dataset_of(name).keypoints)
        for name in DATASETS
        if dataset_of(name).table == number
    }
    runs = metrics[metrics["dataset"].isin(joints)].copy()
    if runs.empty:
        return pd.DataFrame(columns=[*COUNTED, *PROVENANCE])
    runs["num_keypoints"] = runs["dataset"].map(joints)
    names = [
        f"measured {score}, {boxes} boxes"
        for boxes in ("gt", "det")
        for score in SCORES[number]
        if score in runs and (runs.loc[runs["boxes"] == boxes, score].notna()).any()
    ]
    runs["val set"] = runs.apply(val_set, axis="columns")
    keys = [*COUNTED, *PROVENANCE]
    twice = runs[runs.duplicated([*keys, "seed", "boxes"])]
    if len(twice):
        run = twice.iloc[0]
        raise PoseError(f"two metrics files for {run.model} seed {run.seed}, {run.boxes} boxes")
    rows = []
    for values, group in runs.groupby(keys, sort=False):
        row = dict(zip(keys, values, strict=True))
        for name in names:
            score, boxes = name.removeprefix("measured ").removesuffix(" boxes").split(", ")
            row[name] = tables.mean_and_spread(group.loc[group["boxes"] == boxes, score])
        rows.append(row)
    return pd.DataFrame(rows)


def _number(digits: int):
    return lambda value: "-" if pd.isna(value) else f"{value:.{digits}f}"


def caption(number: int, table: pd.DataFrame) -> str:
    """What stands beside what, and which rows may not be compared with the paper."""
    text = (
        f"Comparison on {TITLES[number]}. Paper columns: Table {number} of Li et al., Sensors 2022,"
        " 22, 632, whose GFLOPs mix several conventions; counted: parameters and multiply-adds of"
        " the models built here, by fvcore in eval mode. Scores in percent."
    )
    if table["method"].str.endswith(MARK).any():
        text += f" {MARK} A reconstruction: no public code determines this model."
    if number == 3:
        return text + " test-dev is scored by COCO's server alone."
    if not table["val set"].isin([TITLES[number], "-"]).all():
        text += (
            " A row measured on another data set, or on a part of the val set, must not be"
            " compared with the paper."
        )
    return text


@command
def main(arguments: list[str] | None = None) -> None:
    options = command_line().parse_args(arguments)

    submissions: dict[tuple[str, str], str] = {}
    for text in options.submissions:
        run, _, file = text.partition("=")
        model, _, size = run.partition("@")
        names = [submissions.get((model, size)), Path(file).name]
        submissions[model, size] = ", ".join(filter(None, names))
    metrics = read_metrics(options.metrics)
    table = comparison_table(
        options.number,
        metrics,
        read_complexity(options.complexity),
        read_sheet(options.models),
        submissions,
    )
    name = f"table{options.number}"
    text = caption(options.number, table) + mixed_code(metrics)
    tables.write_table(table, options.output_dir, name, f"Table {options.number}", text)
    tables.write_csv(table, options.output_dir / f"{name}.csv")


if __name__ == "__main__":
    main()
