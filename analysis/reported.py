"""The tables of Li et al. 2022 as data frames; source and units are in ``reported/README.md``."""

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


def _comparison(name: str) -> pd.DataFrame:
    integers = {"input_h": int, "input_w": int}
    numbers = ("params_m", "gflops", "AP", "AP50", "AP75", "APM", "APL", "AR")
    return pd.read_csv(FOLDER / name, dtype={**integers, **dict.fromkeys(numbers, float)})
