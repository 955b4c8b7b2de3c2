"""The cost of every model under one convention, beside the figures of the paper's Tables 2 to 4.

Ours: all parameters, and multiply-adds by fvcore in eval mode, divided by 1e9. The paper's figures
mix several conventions; wherever one of them is off by more than :data:`TOLERANCE`, the table says
why (``reported/complexity_reasons.csv``).
"""

from __future__ import annotations

from pathlib import Path

from pose.config.model_sheet import FILE, Sheet, read_sheet, reconstructions
from pose.support import cli
from pose.support.errors import PoseError, command


def command_line() -> cli.Parser:
    """The options."""
    parser = cli.parser("analysis.complexity_table", __doc__)
    parser.add_argument("--complexity", type=Path, required=True, help="complexity.csv")
    parser.add_argument("--models", type=Path, default=FILE, help="default: config/models.tsv")
    parser.add_argument("--output-dir", type=cli.output_folder, required=True)
    return parser


cli.answer_early(__name__, command_line)

import pandas as pd

from analysis import reported, tables
from analysis.results import read_complexity

TOLERANCE = 0.03
CASE = ["model", "input", "num_keypoints"]
TABLES = {2: 17, 3: 17, 4: 16}  # keypoints of COCO and MPII
MPII_INPUT = "256x256"
PRINTED = {"params": "params_m", "gmacs": "gflops"}
"""Quantity -> the column of the paper's tables that prints it."""


def cost_table(complexity: pd.DataFrame, sheet: Sheet) -> pd.DataFrame:
    """A row per measured model, input and number of keypoints, and per different figure printed.

    ``sheet`` is ``config/models.tsv``. Raises PoseError where a model of the
    paper's tables was not measured, a disagreement has no reason, or a reason no disagreement.
    """
    ours = complexity.assign(
        params=complexity["params"] / 1e6,
        gmacs=complexity["gmacs_fvcore"],
        reconstruction=complexity["model"].isin(reconstructions(sheet)),
    )
    paper = _paper()
    _require_measured(ours, paper)
    shown = ours.merge(_distinct(paper), how="left", on=CASE)
    for quantity, printed in PRINTED.items():
        shown[f"difference {quantity}"] = shown[quantity] / shown[printed] - 1
    return _with_reasons(shown)


def _paper() -> pd.DataFrame:
    """The figures of Tables 2 to 4, with the model, input and keypoints that each row is about."""
    rows = []
    for number, keypoints in TABLES.items():
        frame = reported.comparison(number)
        # Table 4 gives one input for all rows, also where the model's figures are of another.
        size = MPII_INPUT if number == 4 else frame["input"]
        rows.append(frame.assign(table=number, num_keypoints=keypoints, printed_input=size))
    return pd.concat(rows)


def _distinct(paper: pd.DataFrame) -> pd.DataFrame:
    """One row for figures that several tables print alike, with those tables' numbers."""
    keys = [*CASE, "printed_input", *PRINTED.values()]
    numbers = paper.groupby(keys, dropna=False, sort=False)["table"]
    return numbers.agg(lambda tables: ", ".join(map(str, tables))).reset_index()


def _require_measured(ours: pd.DataFrame, paper: pd.DataFrame) -> None:
    measured = set(ours[CASE].itertuples(index=False, name=None))
    for row in paper.itertuples():
        if (row.model, row.input, row.num_keypoints) not in measured:
            raise PoseError(
                f"Table {row.table}: {row.model} at {row.input} with {row.num_keypoints} keypoints"
                " was not measured; add it to config/complexity.csv"
            )


def _with_reasons(shown: pd.DataFrame) -> pd.DataFrame:
    """Add ``reason``: every quantity's that is off, and only those."""
    known = pd.read_csv(reported.FOLDER / "complexity_reasons.csv")
    reasons = {(r.model, r.input, r.quantity, r.reported): r.reason for r in known.itertuples()}
    texts = pd.Series("", index=shown.index)
    for quantity, printed in PRINTED.items():
        off = shown[f"difference {quantity}"].abs() > TOLERANCE
        for row in shown[off].index:
            key = (*shown.loc[row, ["model", "input"]], quantity, shown.loc[row, printed])
            if key not in reasons:
                model, size, _, figure = key
                raise PoseError(
                    f"{model} at {size}: {quantity} are {shown.loc[row, quantity]:.3f}, the paper"
                    f" prints {figure:g}; give the reason in analysis/reported/"
                    "complexity_reasons.csv"
                )
            texts[row] = " ".join(filter(None, [texts[row], reasons.pop(key)]))
    for model, size, quantity, figure in reasons:
        raise PoseError(
            f"complexity_reasons.csv: {quantity} of {model} at {size} agree with {figure:g};"
            " drop the reason"
        )
    return shown.assign(reason=texts)


def summarise(table: pd.DataFrame) -> pd.DataFrame:
    """The table as text; reconstructions are marked by an asterisk."""

    def texts(column: str, form: str) -> pd.Series:
        return table[column].map(lambda value: "-" if pd.isna(value) else format(value, form))

    mark = table["reconstruction"].map({True: " *", False: ""})
    return pd.DataFrame(
        {
            "model": table["model"] + mark,
            "input": table["input"],
            "keypoints": table["num_keypoints"].astype(str),
            "params (M)": texts("params", ".3f"),
            "paper params (M)": texts("params_m", "g"),
            "difference params": texts("difference params", "+.1%"),
            "GMACs (fvcore)": texts("gmacs", ".3f"),
            "GMACs (conv + linear)": texts("gmacs_conv_linear", ".3f"),
            "paper GFLOPs": texts("gflops", "g"),
            "difference GMACs": texts("difference gmacs", "+.1%"),
            "paper table": texts("table", ""),
            "paper input": texts("printed_input", ""),
            "reason": table["reason"].replace("", "-"),
        }
    )


CAPTION = (
    "Ours: all parameters; multiply-adds of one forward pass in eval mode by fvcore, divided by"
    " 1e9 (it counts convolutions, linear layers, batch normalisation and upsampling), and of"
    " convolutions and linear layers alone. The paper's columns: Tables 2 to 4 of Li et al.,"
    " Sensors 2022, 22, 632, as printed; their conventions differ from row to row, and a"
    " difference of more than 3 % has its reason. Difference: ours over the paper's, less 1."
    " * a reconstruction: no code of this model was ever published; a reported cost was fitted."
)


@command
def main(arguments: list[str] | None = None) -> None:
    options = command_line().parse_args(arguments)

    table = cost_table(read_complexity(options.complexity), read_sheet(options.models))
    tables.write_table(summarise(table), options.output_dir, "complexity", "Complexity", CAPTION)
    columns = [*CASE, "reconstruction", "params", "gmacs", "gmacs_conv_linear", "table"]
    columns += ["printed_input", *PRINTED.values(), *(f"difference {q}" for q in PRINTED), "reason"]
    tables.write_csv(table[columns].round(6), options.output_dir / "complexity.csv")


if __name__ == "__main__":
    main()
