"""What about the results asks for a look, worst first: ``python -m analysis.quality``.

Each score stands beside its controls (:mod:`pose.controls`), and a row names whatever does not look
right: nothing is stopped by it. Of one checkpoint, the audit (:mod:`pose.audit`) says how far each
choice of the protocol moves its score.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from io import StringIO
from pathlib import Path
from typing import Any

from pose.support import cli
from pose.support.errors import PoseError, command
from pose.support.files import read_text


def command_line() -> cli.Parser:
    """The options."""
    parser = cli.parser("analysis.quality", __doc__)
    parser.add_argument(
        "places", type=Path, nargs="+", help="results/NAME, or folders of single runs in it"
    )
    parser.add_argument("--output-dir", type=cli.output_folder, help="write the tables here")
    return parser


cli.answer_early(__name__, command_line)

import pandas as pd

from analysis import tables
from analysis.code_mix import MARK, mixed_code
from analysis.results import run_folders
from analysis.run_folder import CURVE, FRACTIONS, PCKH, RunFolder

SEVERITIES = ("error", "warning", "note")
CONTROLLED = ("model", "dataset", "input", "boxes")
"""What a score and its controls have in common."""
CONTROLS = {"floor": ("floor", ""), "rounded": ("reference", "rounded")}
CONTROLS |= {"unrounded": ("reference", "unrounded")}
CODES = ("code_train", "code_infer", "code_evaluate", "kept_code")
AUDITED = ("model", "seed", "boxes", "choice", "value", "metric", "score", "difference")
WHERE = ("name", "folder", "file")  # of a run; no part of what was measured
SAME = 0.1  # points between the score of the best epoch and that of its weights
Finding = tuple[str, str, str]
"""Severity, what, and where."""


def read_scores(folders: Sequence[RunFolder]) -> pd.DataFrame:
    """A row per run and source of boxes, in percent, with all that its metrics tell.

    ``score`` is the main one; a run without scores has one row without ``boxes``.
    """
    rows = []
    for folder in folders:
        for row in folder.scores():
            code = (row.get("made_from") or {}).get("code") or {}
            rows.append(row | {f"code_{step}": told for step, told in code.items()} | folder.place)
    scores = pd.DataFrame(rows)
    needed = ["boxes", "decode", "evaluator", "AP", PCKH, *CODES]
    scores = scores.reindex(columns=[*dict.fromkeys([*scores, *needed])])
    scores = scores.astype(dict.fromkeys(CODES, "string"))
    return scores.assign(score=scores[PCKH].where(scores["AP"].isna(), scores["AP"]))


def read_controls(folders: Sequence[RunFolder]) -> pd.DataFrame:
    """The rows of every ``RUN/controls.csv``, in percent, with the main ``score``."""
    files = dict.fromkeys(folder.path.parent / "controls.csv" for folder in folders)
    parts = [_read_csv(file, (*CONTROLLED, "control", "centre", "decode")) for file in files]
    if not (parts := [part for part in parts if len(part)]):
        return pd.DataFrame(columns=[*CONTROLLED, "control", "centre", "decode", "score"])
    table = pd.concat(parts, ignore_index=True)
    for name in table.columns.intersection(FRACTIONS):
        table[name] *= 100
    ap, pckh = (table[n] if n in table else pd.Series(index=table.index) for n in ("AP", PCKH))
    table["score"] = pckh.where(ap.isna(), ap)
    return table.drop_duplicates()


def read_audits(folders: Sequence[RunFolder]) -> pd.DataFrame:
    """The rows of every ``audit.csv``, in percent."""
    parts = [_read_csv(folder.path / "audit.csv", AUDITED) for folder in folders]
    table = pd.concat([pd.DataFrame(columns=AUDITED), *parts], ignore_index=True)
    unit = table["metric"].map(lambda name: 100 if name in FRACTIONS else 1)
    return table.assign(score=unit * table["score"], difference=unit * table["difference"])


def _read_csv(file: Path, columns: Sequence[str]) -> pd.DataFrame:
    """A table; empty where the file is not there."""
    if not file.exists():
        return pd.DataFrame(columns=columns)
    try:
        table = pd.read_csv(
            StringIO(read_text(file)), keep_default_na=False, na_values={"score": ""}
        )
        if missing := [name for name in columns if name not in table]:
            raise ValueError(f"it lacks {', '.join(missing)}")
    except ValueError as error:  # ParserError and EmptyDataError are ValueErrors
        raise PoseError(f"{file}: not such a table ({error}); make it again") from None
    return table


def controlled(scores: pd.DataFrame, controls: pd.DataFrame) -> pd.DataFrame:
    """The scores, and beside each its ``floor`` and its references, ``rounded`` and ``unrounded``.

    ``outside`` is "above" where a score is above the unrounded reference of its way of decoding,
    "below" where it is below the floor, and else empty.
    """
    table = scores[scores["score"].notna()].copy()
    for name, (control, centre) in CONTROLS.items():
        own = controls[(controls["control"] == control) & (controls["centre"] == centre)]
        keys = [*CONTROLLED, *(["decode"] if centre else [])]
        known = own.drop_duplicates(keys).set_index(keys)["score"]
        table[name] = [known.get(tuple(row)) for row in table[keys].itertuples(index=False)]
        table[name] = table[name].astype(float)
    table["outside"] = ""
    table.loc[table["score"] < table["floor"], "outside"] = "below"
    table.loc[table["score"] > table["unrounded"], "outside"] = "above"
    return table


def findings(
    scores: pd.DataFrame,
    controls: pd.DataFrame,
    audits: pd.DataFrame,
    curves: pd.DataFrame,
    folders: Sequence[RunFolder],
) -> pd.DataFrame:
    """Rows of ``severity``, ``what`` and ``where``, the worst first.

    The frames are those of :func:`read_scores`, :func:`read_controls`, :func:`read_audits` and
    :func:`read_curves`, which have read the ``folders``.
    """
    beside = controlled(scores, controls)
    found = [
        *_outside(beside),
        *_same_for_seeds(beside),
        *_detector_better(beside),
        *_evaluators(beside, audits, curves),
        *_mixed(beside),
        *_skipped(beside),
        *_unreadable(folders),
        *_failed(scores),
        *_uncontrolled(beside),
    ]
    found.sort(key=lambda finding: SEVERITIES.index(finding[0]))
    return pd.DataFrame(found, columns=["severity", "what", "where"])


def _outside(scores: pd.DataFrame) -> Iterator[Finding]:
    for row in scores[scores["outside"] == "above"].itertuples():
        what = f"{row.score:.2f} is above {row.unrounded:.2f}, which a net of perfect maps scores"
        yield "error", f"score outside its controls: {what}", _where(row)
    for row in scores[scores["outside"] == "below"].itertuples():
        what = f"{row.score:.2f} is below {row.floor:.2f}, which the mean pose scores"
        yield "warning", f"score outside its controls: {what}", _where(row)


def _same_for_seeds(scores: pd.DataFrame) -> Iterator[Finding]:
    columns = [name for name in (*FRACTIONS, PCKH, "PCKh@0.1") if name in scores]
    keys = ["model", "dataset", "input", "protocol", "boxes", *columns]
    for _, same in scores[scores["score"] > 0].groupby(keys, dropna=False):
        if same["seed"].nunique() > 1:
            seeds = " and ".join(map(str, sorted(same["seed"].unique())))
            yield "error", f"identical results of the seeds {seeds}", _where(same.iloc[0])


def _detector_better(scores: pd.DataFrame) -> Iterator[Finding]:
    for _, own in scores.groupby("folder", sort=False):
        by_boxes = own.set_index("boxes")["score"]
        if {"gt", "det"} <= set(by_boxes.index) and by_boxes["det"] > by_boxes["gt"]:
            what = f"{by_boxes['det']:.1f} in detector boxes, {by_boxes['gt']:.1f} in true ones"
            yield "warning", f"detector boxes better than true ones: {what}", _where(own.iloc[0])


def _evaluators(
    scores: pd.DataFrame, audits: pd.DataFrame, curves: pd.DataFrame
) -> Iterator[Finding]:
    own = audits[(audits["choice"] == "evaluator") & (audits["difference"].abs() > 1e-6)]
    for row in own.itertuples():
        what = f"evaluators disagree: {row.value} gives {row.difference:+.2f} {row.metric}"
        yield "warning", what, f"{row.model}, seed {row.seed}, {row.boxes} boxes"
    best = curves.groupby("folder")["score"].max() if len(curves) else {}
    for row in scores[scores["boxes"] == "gt"].itertuples():
        epoch = best.get(row.folder)
        if epoch is not None and abs(epoch - row.score) > SAME:
            what = f"{row.score:.2f} of the weights, {epoch:.2f} of their epoch"
            yield "warning", f"the training's evaluator disagrees: {what}", _where(row)
    for dataset, versions in scores.groupby("dataset")["evaluator"]:
        if versions.nunique() > 1:
            listed = " and ".join(sorted(versions.unique()))
            yield "warning", f"scores by {listed} stand side by side", f"all on {dataset}"


def _mixed(scores: pd.DataFrame) -> Iterator[Finding]:
    sentence = mixed_code(scores)
    if sentence:
        for mix in sentence.strip().removeprefix(MARK).removesuffix(".").split("; "):
            yield "warning", f"mixed code: {mix}", "all runs"


def _skipped(scores: pd.DataFrame) -> Iterator[Finding]:
    for name, split in (("skipped", "val"), ("training_skipped", "training")):
        if name not in scores:
            continue
        for row in scores.drop_duplicates(["dataset", "input", "boxes"]).to_dict("records"):
            counts = row[name] if isinstance(row[name], dict) else {}
            for reason, count in counts.items():
                what = f"{count} persons of the {split} set skipped: {reason}"
                yield "warning", what, f"{row['dataset']}, {row['boxes']} boxes"


def _unreadable(folders: Sequence[RunFolder]) -> Iterator[Finding]:
    for folder in folders:
        run = folder.path.parent.name, folder.path.name
        for why in folder.unreadable.values():
            yield "error", f"left out: {why}", " ".join(run)


def _failed(scores: pd.DataFrame) -> Iterator[Finding]:
    runs = scores.drop_duplicates("folder")
    failed = runs[runs["score"].isna()]
    if len(failed):
        share = f"{len(failed)} of {len(runs)} runs ({len(failed) / len(runs):.0%})"
        names = ", ".join(f"{row.run} seed {row.seed}" for row in failed.itertuples())
        yield "warning", f"{share} failed or are unfinished: they have no score", names


def _uncontrolled(scores: pd.DataFrame) -> Iterator[Finding]:
    without = scores[scores["unrounded"].isna()]
    if len(without):
        runs = ", ".join(without["run"].unique())
        yield "note", f"{len(without)} scores have no controls; run pose.controls", runs


def _where(row: Any) -> str:
    return f"{row.run}, seed {row.seed}, {row.boxes} boxes"


def read_curves(folders: Sequence[RunFolder]) -> pd.DataFrame:
    """The val ``score`` in percent of each ``folder``'s epochs; of those whose log is whole."""
    rows = [
        {"folder": str(folder.path), "score": line.get("AP", line.get(PCKH))}
        for folder in folders
        for line in list(folder.curve())
        if CURVE not in folder.unreadable
    ]
    return pd.DataFrame(rows, columns=["folder", "score"])


QUALITY = (
    "What asks for a look, worst first. A score above its unrounded reference cannot be right; one"
    " below the floor is of a net that has learnt nothing yet. Nothing was stopped by it."
)
BESIDE = (
    "Every score (percent) beside its controls. Floor: the mean pose of the annotated persons in"
    " each box. References: the annotated joints through target, decoding and back-projection, with"
    " the protocol's centres rounded to heat-map pixels, and unrounded."
)
AUDIT = (
    "What one choice of the protocol, changed alone, does to the score (percent) of one checkpoint."
)


def controls_table(beside: pd.DataFrame) -> pd.DataFrame:
    """The table of text of :func:`controlled`."""
    columns = ["run", "seed", "dataset", "input", "boxes", "decode", "score", *CONTROLS, "outside"]
    return _text(beside[columns].rename(columns={"score": "measured score"}))


def audit_table(audits: pd.DataFrame) -> pd.DataFrame:
    """The table of text of :func:`read_audits`."""
    shown = audits.assign(difference=audits["difference"].map("{:+.2f}".format))
    return _text(shown.rename(columns={"score": "measured score"}))


def _text(table: pd.DataFrame) -> pd.DataFrame:
    def cell(value: Any) -> str:
        if pd.isna(value):
            return "-"
        return f"{value:.1f}" if isinstance(value, float) else str(value)

    return table.map(cell)


@command
def main(arguments: list[str] | None = None) -> None:
    options = command_line().parse_args(arguments)

    folders = run_folders(options.places)
    scores, controls = read_scores(folders), read_controls(folders)
    audits = read_audits(folders)
    found = findings(scores, controls, audits, read_curves(folders), folders)
    if options.output_dir:
        beside = controlled(scores, controls)
        for name, title, note, table, shown in (
            ("quality", "Quality", QUALITY, found, found),
            ("controls", "Controls", BESIDE, beside, controls_table(beside)),
            ("audit", "Audit of the protocol", AUDIT, audits, audit_table(audits)),
        ):
            tables.write_table(shown, options.output_dir, name, title, note)
            kept = [c for c in table if c not in WHERE and not table[c].map(type).eq(dict).any()]
            tables.write_csv(table[kept], options.output_dir / f"{name}.csv")
    print(found.to_markdown(index=False) if len(found) else "nothing asks for a look")


if __name__ == "__main__":
    main()
