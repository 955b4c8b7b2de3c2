"""Published checkpoints: the published score, the one recomputed here, their difference, and why.

One row per checkpoint, with every score in percent. What was not evaluated says "not run" and,
where its file could not be had, why; a row that was evaluated on a part of the val set says so.
"""

from __future__ import annotations

from collections.abc import Iterator
from io import StringIO
from pathlib import Path

from pose.support import cli
from pose.support.errors import PoseError, command
from pose.support.files import read_text

TITLES = {"published": "Published checkpoints", "released": "The authors' checkpoints"}


def command_line() -> cli.Parser:
    """The options."""
    parser = cli.parser("analysis.published", __doc__)
    parser.add_argument("names", nargs="+", metavar="NAME", help="the rows, of pose.weights list")
    parser.add_argument("--metrics", type=Path, nargs="*", default=[], help="metrics_*.json")
    parser.add_argument("--obtained", type=Path, required=True, help="of pose.weights obtain")
    parser.add_argument("--table", choices=TITLES, default="published", help="how it is called")
    parser.add_argument("--output-dir", type=cli.output_folder, required=True)
    return parser


cli.answer_early(__name__, command_line)

import pandas as pd

from analysis import reported, tables
from analysis.code_mix import mixed_code
from analysis.results import PCKH, load_results
from pose.config.model_sheet import ablation, model_sheet
from pose.weights.published import published_file

# Score -> the boxes with which it is recomputed; MPII's are part of the data set.
BOTH = ("gt", "det")
SCORES = {"AP": BOTH, "AR": BOTH, PCKH: ("gt",), "PCKh@0.1": ("gt",), "PCKh@0.11": ("gt",)}
MAIN = {"coco": "AP", "mpii": PCKH}


def published_table(
    names: list[str], metrics: pd.DataFrame, problems: dict[str, str]
) -> pd.DataFrame:
    """The table with a row for each of ``names``; NaN where nothing applies or was run.

    ``problems``: why a checkpoint could not be had. Raises PoseError for results of an unknown
    checkpoint, and for two of the same kind.
    """
    ours = {boxes: _measured(names, metrics, boxes) for boxes in ("gt", "det")}
    published = _published(names)
    table = published[["input"]].copy()
    for score, kinds in SCORES.items():
        table[f"published {score}"] = published[score]
        for boxes in kinds:
            what = f"{score}, {boxes} boxes" if len(kinds) > 1 else score
            table[f"recomputed {what}"] = ours[boxes][score]
            table[f"difference {what}"] = ours[boxes][score] - published[score]
    table["published with"] = published["boxes"].replace("", "-")
    for boxes, frame in ours.items():
        table[f"persons, {boxes} boxes"] = frame["persons"].astype("Int64")
    either = ours["gt"].combine_first(ours["det"])
    table["images"] = either["images"].astype("Int64")
    table["val set"] = either["val_set"].fillna(tables.NOT_RUN)
    table[["protocol", "evaluator"]] = either[["protocol", "evaluator"]]
    table["reason"] = [
        "; ".join(_reasons(name, ours["det"]["AP"].notna()[name], table["val set"][name], problems))
        for name in names
    ]
    return table.reset_index()


def _measured(names: list[str], metrics: pd.DataFrame, boxes: str) -> pd.DataFrame:
    """The results in one kind of boxes, with a row for every checkpoint."""
    ours = metrics[metrics["boxes"] == boxes].set_index("checkpoint")
    for place in metrics.loc[metrics["checkpoint"].isna(), "folder"]:
        raise PoseError(f"{place}: results of a training, and of no published checkpoint")
    for name in ours.index:
        published_file(name)
    for name in ours.index[ours.index.duplicated()]:
        raise PoseError(f"two results for {name}, {boxes} boxes")
    columns = ["val_set", *SCORES, "persons", "images", "protocol", "evaluator"]
    return ours.reindex(index=names, columns=columns)


def _published(names: list[str]) -> pd.DataFrame:
    """Model, data set, input, boxes and the published scores of each checkpoint."""
    files = pd.DataFrame([vars(published_file(name)) for name in names]).set_index("name")
    files = files.rename_axis("checkpoint")
    expected = pd.to_numeric(files["expected"])
    for score in MAIN.values():
        files[score] = expected.where(files["dataset"].map(MAIN) == score)
    keys = pd.MultiIndex.from_frame(files[["model", "dataset", "input"]])
    recall = _recall().reindex(keys).set_axis(files.index)
    files["AR"] = recall.mask(files.index.str.endswith("-mmpose"))
    return files.join(reported.pckh_strict())


def _recall() -> pd.Series:
    """AR on COCO val of each (model, data set, input) that the paper's Tables 1 and 2 have."""
    orders = reported.ablation().rename(index=str)
    orders = orders.assign(model=orders.index.map(ablation(model_sheet())), input="256x192")
    rows = pd.concat([orders, reported.comparison(2).dropna(subset="model")]).assign(dataset="coco")
    keys = ["model", "dataset", "input"]
    return rows.drop_duplicates(keys).set_index(keys)["AR"]  # order 8 is in both


def _reasons(name: str, has_det: bool, measured_on: str, problems: dict[str, str]) -> Iterator[str]:
    """Why a row has no number, or another one than was published, as far as that is known."""
    if name in problems:
        yield f"not run: {problems[name]}"
        return
    if measured_on == tables.NOT_RUN:
        yield "not run: no data of this data set"
        return
    file = published_file(name)
    if " of " in measured_on:
        yield "a part of the val set, whose score is another"
    if file.boxes == "det" and not has_det:
        yield "published with a detector's boxes, about 2 AP lower"
    if file.dataset == "coco" and not file.boxes:
        yield "not published with which boxes; the two are about 2 AP apart"
    if not file.expected:
        yield "no score is published"
    if name.endswith("-mmpose") and file.dataset == "coco":
        yield "MMPose scores by xtcocotools"
    if file.licence == "MIT" and file.dataset == "mpii":
        yield "what its table calls Mean@0.1 is PCKh@0.11"


def summarise(table: pd.DataFrame) -> pd.DataFrame:
    """The table as text: one decimal, differences with their sign.

    "not run" where a score is published and nothing was recomputed.
    """
    shown = table.apply(lambda column: column.map(lambda value: _text(value, column.name)))
    for column in [column for column in table if column.startswith("recomputed")]:
        score = column.removeprefix("recomputed ").partition(",")[0]
        not_run = table[f"published {score}"].notna() & table[column].isna()
        shown[column] = shown[column].astype(object).mask(not_run, tables.NOT_RUN)
    return shown


def _text(value: object, column: str) -> str:
    if pd.isna(value) or value == "":
        return "-"
    if column.startswith(("published ", "recomputed", "difference")) and value != "-":
        sign = "+" if column.startswith("difference") else ""
        is_number = not isinstance(value, str)
        return f"{round(value, 1) + 0.0:{sign}.1f}" if is_number else value  # + 0.0: never -0.0
    return str(value)


def caption(table: pd.DataFrame) -> str:
    """What stands beside what, and which rows may not be compared with the published scores."""
    text = (
        "All scores in percent; difference = recomputed - published. COCO's are recomputed with"
        " ground-truth (gt) and a detector's (det) boxes; 'published with' says with which the"
        " published one was reached. PCKh@0.1 and PCKh@0.11 are different numbers: HRNet's family"
        " prints the latter as Mean@0.1."
    )
    partial = sorted({value for value in table["val set"] if " of " in value})
    if partial:
        text += (
            f" Not the published val set: {', '.join(partial)}. "
            "Such a row must not be compared with what was published; its difference means nothing."
        )
    return text


@command
def main(arguments: list[str] | None = None) -> None:
    options = command_line().parse_args(arguments)

    metrics = load_results(*{file.parent: None for file in options.metrics})
    table = published_table(options.names, metrics, read_problems(options.obtained))
    title, text = TITLES[options.table], caption(table) + mixed_code(metrics)
    tables.write_table(summarise(table), options.output_dir, options.table, title, text)
    tables.write_csv(table.round(3), options.output_dir / f"{options.table}.csv")


def read_problems(path: Path) -> dict[str, str]:
    """Why checkpoints could not be had, by name, from a file of ``pose.weights obtain``."""
    try:
        rows = pd.read_csv(StringIO(read_text(path)), keep_default_na=False)
        problems = rows.set_index("name")["problem"]
    except (KeyError, ValueError):
        raise PoseError(f"{path}: not a file of python -m pose.weights obtain") from None
    return problems[problems != ""].to_dict()


if __name__ == "__main__":
    main()
