"""The sheet of models, ``config/models.tsv``: the family of each, and its place in the ablation.

A model's switches are the columns backbone, neck and head, and any further one that is not in
:data:`COLUMNS`. A switch is "plain", "meme", or whatever else the sheet says.
"""

from __future__ import annotations

import csv
from pathlib import Path

from pose.support.errors import PoseError

Sheet = dict[str, dict[str, str]]
"""Model -> column -> text."""

FILE = Path(__file__).parent.parent / "config" / "models.tsv"
COLUMNS = ("model", "family", "order", "architecture", "reconstruction", "recipe", "weights")
"""The columns that are no switches; ``order`` is what Table 1 and Figures 1 and 8 call a model."""
SWITCHES = ("backbone", "neck", "head")
NONE = "-"


def read_sheet(file: Path = FILE) -> Sheet:
    """Read the sheet; "-" is read as an empty text.

    Raises PoseError for a missing file, a missing column, a row that is too short or too long, and
    a model or an order that is there twice.
    """
    try:
        with file.open(newline="", encoding="utf-8") as lines:
            reader = csv.DictReader(lines, delimiter="\t", restkey="")
            rows, columns = list(reader), reader.fieldnames or []
    except (OSError, ValueError, csv.Error) as error:
        raise PoseError(f"{file}: not the sheet of models ({error})") from None
    missing = [column for column in (*COLUMNS, *SWITCHES) if column not in columns]
    if missing:
        raise PoseError(f"{file}: not the sheet of models (it lacks {', '.join(missing)})")
    sheet: Sheet = {}
    model_of: dict[str, str] = {}
    for row in rows:
        model, order = row["model"], row["order"]
        if None in row.values() or "" in row:
            raise PoseError(f"{file}: the row of {model} does not have {len(columns)} columns")
        if model in sheet:
            raise PoseError(f"{file}: {model} is there twice")
        if order != NONE and order in model_of:
            raise PoseError(f"{file}: {model_of[order]} and {model} are both order {order}")
        sheet[model] = {column: "" if value == NONE else value for column, value in row.items()}
        model_of[order] = model
    return sheet


def switches(row: dict[str, str]) -> dict[str, str]:
    """Switch -> its value in a row of the sheet; an empty one is "plain"."""
    return {name: value or "plain" for name, value in row.items() if name not in COLUMNS}


def ablation(sheet: Sheet) -> dict[str, str]:
    """Order -> model, for every model of the ablation, as the sheet lists them."""
    return {row["order"]: model for model, row in sheet.items() if row["order"]}


def reconstructions(sheet: Sheet) -> set[str]:
    """The models that no public code determines."""
    return {model for model, row in sheet.items() if row["reconstruction"] == "true"}
