"""Published numbers as data frames; source and units are in ``reported/README.md``."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

FOLDER = Path(__file__).parent / "reported"
SWITCHES = ("meme_backbone", "meme_neck", "meme_head")


def ablation() -> pd.DataFrame:
    """Table 1, indexed by order 1..8: three boolean switches, AP and AR in percent."""
    table = pd.read_csv(FOLDER / "table1_ablation_coco_val.csv", index_col="order")
    return table.astype({**dict.fromkeys(SWITCHES, bool), "AP": float, "AR": float})


def coco_val() -> pd.DataFrame:
    """Table 2: a row per model and input size; NaN where the paper prints nothing."""
    return _comparison("table2_coco_val.csv")


def coco_test_dev() -> pd.DataFrame:
    """Table 3, as Table 2."""
    return _comparison("table3_coco_test_dev.csv")


def mpii_val() -> pd.DataFrame:
    """Table 4: PCKh@0.5 in percent as ``PCKh50``."""
    numbers = {"params_m": float, "gflops": float, "PCKh50": float}
    return pd.read_csv(FOLDER / "table4_mpii_val.csv", dtype=numbers, keep_default_na=False)


def slips(number: int) -> pd.DataFrame:
    """Where the paper says something of a table (``place``, ``says``) that is not so (``but``)."""
    table = pd.read_csv(FOLDER / "slips.csv", keep_default_na=False)
    return table[table["table"] == number]


def since_2022() -> pd.DataFrame:
    """COCO val2017 in the detector's boxes, as projects report it since; ``gmacs`` as they count.

    ``extra_data``: what else than COCO the model was trained on, "none" (and how its backbone
    was pretrained) for most. ``source``: repository, commit and file.
    """
    return pd.read_csv(FOLDER / "since_2022.csv")


def comparison(number: int) -> pd.DataFrame:
    """Table 2, 3 or 4 with ``model`` and ``input`` (HxW): what each row is called here."""
    ours = pd.read_csv(FOLDER / "models.csv", keep_default_na=False)
    ours = ours[ours["table"] == number].drop(columns="table")
    table = {2: coco_val, 3: coco_test_dev, 4: mpii_val}[number]()
    if number == 4:
        table = table.assign(backbone="").rename(columns={"PCKh50": "PCKh@0.5"})
    else:
        sizes = table[["input_h", "input_w"]].astype(str)
        table["input"] = sizes["input_h"] + "x" + sizes["input_w"]
    on = [column for column in ("method", "backbone", "input") if column in table]
    return table.merge(ours, how="left", on=on, validate="one_to_one")


def pckh_strict() -> pd.DataFrame:
    """What other projects publish at a tenth of the head: a column a threshold, in percent."""
    rows = pd.read_csv(FOLDER / "pckh_strict.csv")
    return rows.pivot(index="checkpoint", columns="metric", values="published")


def _comparison(name: str) -> pd.DataFrame:
    integers = {"input_h": int, "input_w": int}
    numbers = ("params_m", "gflops", "AP", "AP50", "AP75", "APM", "APL", "AR")
    return pd.read_csv(FOLDER / name, dtype={**integers, **dict.fromkeys(numbers, float)})
