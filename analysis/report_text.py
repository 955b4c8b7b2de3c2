"""What the report says in words: what was run, what was found, and what was not run."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pandas as pd

from analysis.report_tables import label, scores_of
from analysis.results import PCKH
from pose.config.model_sheet import Sheet, ablation

Tables = dict[str, pd.DataFrame]
"""The CSV of each table by its name, all text; one that was not made is empty."""


@dataclass(frozen=True)
class Sentence:
    """A sentence, and the numbers of the rows of load_results that its numbers are from."""

    text: str
    runs: list[int] = field(default_factory=list)


def what_was_run(results: pd.DataFrame) -> Iterator[Sentence]:
    """Models, data, protocols and cost."""
    scored = results[results["boxes"].notna()]
    for keys, own in scored.groupby(["val_set", "dataset", "input", "protocol"], sort=False):
        val_set, dataset, size, protocol = keys
        boxes = " and ".join(
            {"gt": "annotated", "det": "a detector's"}[b] for b in own["boxes"].unique()
        )
        text = f"{_count(own['model'].nunique(), 'model')}, {_count(own['seed'].nunique(), 'seed')}"
        text += f" each, on {dataset} ({val_set}) at {size}, protocol {protocol}, in {boxes} boxes."
        yield Sentence(text, [*own.index])
    trained = results.drop_duplicates("folder")
    if hours := trained["train_hours"].sum():
        devices = ", ".join(trained["device"].dropna().unique()) or "an unknown device"
        known = trained["train_hours"].notna()
        text = f"{_count(known.sum(), 'training')} took {_duration(hours)} in all, on {devices}."
        yield Sentence(text, [*trained.index[known]])


def what_was_found(results: pd.DataFrame, tables: Tables) -> Iterator[Sentence]:
    """The best scores, verdicts, effects, claims, errors, controls and quality."""
    yield from _best(results)
    for number in "1234":
        table = tables[f"table{number}"]
        if "verdict" in table and (table["verdict"] != "not run").any():
            yield Sentence(f"Table {number} beside the paper's: {_verdicts(table['verdict'])}.")
    yield from _effects(results, tables["effects"])
    if len(claims := tables["claims"]):
        by_tables = _verdicts(claims["by the paper's tables"])
        yield Sentence(
            f"Of {len(claims)} numbers that the paper claims, by its tables: {by_tables}."
        )
        if (claims["by measurement"] != "not run").any():
            yield Sentence(f"By what was measured here: {_verdicts(claims['by measurement'])}.")
    yield from _errors(results, tables["errors"])
    if len(controls := tables["controls"]):
        known = controls[controls["unrounded"] != ""]
        inside = (known["outside"] == "").sum()
        text = f"{inside} of {len(known)} scores lie between the mean pose's and the annotations'"
        yield Sentence(f"{text} own way through the evaluation.")
    if "severity" in tables["quality"]:
        counts = tables["quality"]["severity"].value_counts()
        listed = ", ".join(_count(number, severity) for severity, number in counts.items())
        yield Sentence(f"Quality: {listed or 'nothing asks for a look'}.")


def what_was_not_run(
    results: pd.DataFrame, tables: Tables, missing: list[str], sheet: Sheet
) -> Iterator[Sentence]:
    """Runs, orders, rows of tables and whole parts that are not there; ``missing`` names these."""
    if not (results["val_share"] == 1).any():
        text = "Nothing was measured on the whole of COCO val2017 or MPII val"
        yield Sentence(f"{text}: none of these scores may be compared with the paper's.")
    unscored = results[results["boxes"].isna()]
    if len(unscored):
        names = ", ".join(label(row) for _, row in unscored.iterrows())
        yield Sentence(f"Without scores, failed or unfinished: {names}.", [*unscored.index])
    orders = {*results["order"].dropna()}
    if left := [order for order in ablation(sheet) if order not in orders]:
        yield Sentence(f"Orders of the ablation: {', '.join(left)}.")
    for number in "1234":
        table = tables[f"table{number}"]
        rows = (table["verdict"] == "not run").sum() if "verdict" in table else 0
        if rows:
            yield Sentence(f"{rows} of {len(table)} rows of Table {number}.")
    if "by measurement" in tables["claims"]:
        open_claims = (tables["claims"]["by measurement"] == "not run").sum()
        if open_claims:
            yield Sentence(f"{open_claims} of {len(tables['claims'])} claims.")
    sent = results[results["submission"].notna() & results["AP"].isna()]
    if len(sent):
        yield Sentence(f"{_count(len(sent), 'submission')} to test-dev without the server's score.")
    if missing:
        yield Sentence(f"Not made: {', '.join(missing)}.")


def provenance(row: Any, options: str) -> dict[str, str]:
    """How one row of load_results came about; ``options`` are those of Snakemake."""
    told = {
        key: f"{value:.3g}" if isinstance(value, float) else str(value)
        for key, value in row.items()
        if pd.notna(value)
    }

    def listed(*names: str) -> str:
        return ", ".join(f"{name} {told[name]}" for name in names if name in told)

    boxes = {"gt": "annotated (gt)", "det": "a detector's (det)"}.get(told.get("boxes", ""), "")
    weights = f"{told['source']} {told.get('checkpoint', '')}".strip() if "source" in told else ""
    target = f"{told['folder']}/metrics_{told.get('boxes', 'gt')}.json"
    commit = f"git checkout {told['commit']} && " if "commit" in told else ""
    fields = {
        "scores": ", ".join(scores_of(row)) or "not run",
        "model": f"{told['model']} {listed('order', 'seed')}".strip(),
        "weights": weights,
        "data": f"{told.get('val_set', '')}, {listed('images', 'persons', 'data')}".strip(", "),
        "boxes": boxes,
        "input": told.get("input", ""),
        "protocol": f"{told.get('protocol', '')}; {listed('recipe', 'numerics')}".strip("; "),
        "training": listed("batch", "precision", "batch_norm", "epochs", "train_hours"),
        "evaluator": told.get("evaluator", ""),
        "code": listed("code_train", "code_infer", "code_evaluate", "kept_code", "identity"),
        "commit": told.get("commit", ""),
        "versions": told.get("versions", ""),
        "device": told.get("device", ""),
        "folder": told["folder"],
        "made again by": f"{commit}snakemake {target} {options}".strip(),
    }
    return {name: text for name, text in fields.items() if text}


def _best(results: pd.DataFrame) -> Iterator[Sentence]:
    for score in ("AP", PCKH):
        own = results[results[score].notna()]
        for (val_set, size, boxes), group in own.groupby(["val_set", "input", "boxes"], sort=False):
            means = group.groupby("model")[score].mean().sort_values()
            best = group[group["model"] == means.index[-1]]
            text = f"Highest {score} in {boxes} boxes on {val_set} at {size}: {means.iloc[-1]:.1f}"
            low, high = best[f"{score}_low"].iloc[0], best[f"{score}_high"].iloc[0]
            if len(best) == 1 and pd.notna(low):
                text += f" ({low:.1f} to {high:.1f})"
            text += f", {means.index[-1]}"
            if len(means) > 1:
                text += f"; lowest: {means.iloc[0]:.1f}, {means.index[0]}"
            ends = group["model"].isin([means.index[0], means.index[-1]])
            yield Sentence(f"{text}.", [*group.index[ends]])


def _effects(results: pd.DataFrame, effects: pd.DataFrame) -> Iterator[Sentence]:
    if effects.empty:
        return
    keys = ["dataset", "input", "protocol", "boxes"]
    for setting, own in effects.groupby(keys, sort=False):
        dataset, size, _, boxes = setting
        main = own[own["score"].isin(["AP", PCKH])]
        parts = [
            f"{row['effect']} {float(row['measured']):+.1f} ({row['verdict']})"
            for row in main.to_dict("records")
            if row["measured"]
        ]
        if parts:
            same = (results[keys] == list(setting)).fillna(False).all(axis=1)
            text = f"Effects on {main['score'].iloc[0]} in {boxes} boxes, {dataset} at {size}:"
            yield Sentence(
                f"{text} {', '.join(parts)}.", [*results.index[same & results["order"].notna()]]
            )


def _errors(results: pd.DataFrame, errors: pd.DataFrame) -> Iterator[Sentence]:
    kinds = [name for name in errors if name.endswith(", in turn")]
    if len(errors) and kinds:
        means = errors[kinds].astype(float).mean().sort_values(ascending=False)
        costs = [f"{name.removesuffix(', in turn')} {mean:.1f}" for name, mean in means.items()]
        text = f"AP that each kind of error costs, mean of all runs: {', '.join(costs)}."
        named = [number for number, row in results.iterrows() if label(row) in {*errors["results"]}]
        yield Sentence(text, named)


def _verdicts(column: pd.Series) -> str:
    return ", ".join(f"{name} {number}" for name, number in column.value_counts().items())


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


def _duration(hours: float) -> str:
    return f"{hours:.1f} hours" if hours >= 1 else f"{60 * hours:.1f} minutes"
