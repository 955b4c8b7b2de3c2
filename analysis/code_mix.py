"""Whether the results that meet in a table were made with one state of the code."""

from __future__ import annotations

from collections.abc import Iterator

import pandas as pd

MARK = "Mixed code: "
STEPS = {"train": "trained", "infer": "predicted"}
"""Step, whose code is the model's own -> what was done by it."""


def mixed_code(metrics: pd.DataFrame) -> str:
    """A sentence for the caption of a table of :func:`analysis.results.read_metrics`.

    It names the runs of one model that differ in the fingerprint of their training's or inference's
    code, those that went on with other code, those that the user kept beside later code, and
    whether all were scored by the same code. Empty where nothing is mixed.
    """
    found = list(dict.fromkeys(_mixes(metrics)))
    return f" {MARK}{'; '.join(found)}." if found else ""


def _mixes(metrics: pd.DataFrame) -> Iterator[str]:
    codes = metrics.get("made_from", pd.Series(index=metrics.index, dtype=object))
    codes = codes.map(lambda origin: origin.get("code", {}) if isinstance(origin, dict) else {})
    for step, done in STEPS.items():
        prints = codes.map(lambda code, step=step: code.get(step))
        for model, own in prints.groupby(metrics["model"], sort=False):
            if own.nunique() > 1:
                yield f"{model} was {done} with {_listed(own)}"
    trained = codes.map(lambda code: code.get("train") or "")
    for row in metrics[trained.str.contains("+", regex=False)].itertuples():
        yield f"{row.model} (seed {row.seed}) was trained with {trained[row.Index]} in turn"
    kept = metrics.get("kept_code", pd.Series(index=metrics.index, dtype=object))
    for row in metrics[kept.notna()].itertuples():
        yield f"{row.model} (seed {row.seed}) is of {row.kept_code}"
    scored = codes.map(lambda code: code.get("evaluate"))
    if scored.nunique() > 1:
        yield f"scores are by {_listed(scored)}"


def _listed(fingerprints: pd.Series) -> str:
    return " and ".join(sorted(fingerprints.dropna().unique()))
