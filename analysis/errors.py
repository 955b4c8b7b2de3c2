"""What anybody's COCO results lose AP by: ``python -m analysis.errors``.

Kinds of errors after Ronchi and Perona (:mod:`analysis.error_kinds`): how many there are, and the
AP that each costs. Results are files in COCO's format (.json) or raw predictions of pose.infer
(.npz).
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pose.config.datasets import DATASETS
from pose.evaluation.options import add_suppression
from pose.support import cli
from pose.support.errors import PoseError, command


def command_line() -> cli.Parser:
    """The options."""
    parser = cli.parser("analysis.errors", __doc__)
    parser.add_argument("--annotations", type=Path, required=True, help="person_keypoints_*.json")
    parser.add_argument("--results", type=Path, nargs="+", required=True, metavar="FILE")
    parser.add_argument("--dataset", choices=DATASETS, default="coco", help="whose joints they are")
    parser.add_argument("--json", action="store_true", help="print one JSON object by file")
    parser.add_argument("--output-dir", type=cli.output_folder, help="for table and figure")
    parser.add_argument("--name", default="errors", help="of these files; default: errors")
    add_suppression(parser.add_argument_group("raw predictions (.npz)"))
    return parser


cli.answer_early(__name__, command_line)

import pandas as pd
from matplotlib import pyplot as plt
from matplotlib.figure import Figure

from analysis import style, tables
from analysis.compare import read_records
from analysis.error_kinds import KINDS, STEPS, Analysis, count
from analysis.results import run_of
from pose.datasets import dataset_of
from pose.datasets.coco_format import Truth

MEANING = {
    "miss": "joints near to nothing",
    "swap": "joints of another person",
    "inversion": "left and right confused",
    "jitter": "joints near their place",
    "scores": "scores in a wrong order",
    "background": "results of nobody",
    "misses": "persons not found",
    "good": "within the good joints",
}
COLOURS = dict(
    zip(
        STEPS,
        ("#d55e00", "#cc79a7", "#e69f00", "#f0e442", "#009e73", "#0072b2", "#56b4e9", "#bdbdbd"),
        strict=True,
    )
)
"""Okabe and Ito's, which the colour-blind can tell apart."""


def analyse(results: Sequence[dict[str, Any]], truth: Truth) -> dict[str, Any]:
    """Kinds of errors, the AP that each costs, and where they are; all AP are fractions.

    ``joints``: how many are of each kind, and by joint. ``alone``: the AP gained where that kind
    alone is mended; ``in_turn``: where one after another is, which sums to 1 - AP. ``sensitivity``:
    persons, AR and joints by size, overlap and labelled joints.
    """
    found = Analysis.of(results, truth)
    alone, in_turn = found.gains()
    return {
        "AP": found.ap,
        "evaluator": found.evaluator,
        "persons": int(found.people.counted.sum()),
        "results": len(results),
        "scored": len(found.scores),
        "matched": int((found.owners >= 0).sum()),
        "ignored": int(found.ignored.sum()),
        "background": int(found.of_nobody.sum()),
        "duplicates": int(found.duplicates.sum()),
        "misses": int(found.missed.sum()),
        "joints": count(found.kinds),
        "joints_by_name": {
            name: count(found.kinds[:, number]) for number, name in enumerate(truth.keypoints.names)
        },
        "alone": alone,
        "in_turn": in_turn,
        "sensitivity": found.sensitivity(),
    }


def errors_table(found: dict[str, dict[str, Any]]) -> pd.DataFrame:
    """A row per file: AP, what each kind costs in turn and alone, in points, and the counts."""
    rows = []
    for name, errors in found.items():
        joints, labelled = errors["joints"], sum(errors["joints"].values())
        rows.append(
            {"results": name, "AP": 100 * errors["AP"]}
            | {f"{step}, in turn": 100 * errors["in_turn"][step] for step in STEPS}
            | {f"{step}, alone": 100 * errors["alone"][step] for step in STEPS}
            | {f"{kind} joints (%)": 100 * joints[kind] / max(labelled, 1) for kind in KINDS}
            | {f"{key} (count)": errors[key] for key in ("background", "duplicates", "misses")}
        )
    return pd.DataFrame(rows)


def summarise(table: pd.DataFrame) -> pd.DataFrame:
    """The table of text, without what mending one kind alone would gain."""
    shown = table[[column for column in table if not column.endswith(", alone")]]
    return shown.map(lambda value: f"{value:.1f}" if isinstance(value, float) else str(value))


def errors_figure(found: dict[str, dict[str, Any]]) -> Figure:
    """A bar per file: its AP, and what keeps it from 100."""
    names = list(found)
    figure, (costs, joints) = plt.subplots(
        *(1, 2), figsize=(8.2, 1.9 + 0.26 * len(names)), sharey=True, width_ratios=(2, 1),
        layout="constrained",
    )  # fmt: skip
    parts = {"AP": ("#444444", [100 * found[name]["AP"] for name in names])}
    for step in STEPS:
        parts[f"{step}: {MEANING[step]}"] = (
            COLOURS[step],
            [100 * max(0.0, found[name]["in_turn"][step]) for name in names],
        )
    _stack(costs, names, parts)
    costs.set(xlabel="AP (%), and the points that each kind costs", xlim=(0, 100))
    costs.set_title("What keeps AP from 100")
    shares = {}
    for kind in reversed(KINDS[1:]):
        of = [found[name]["joints"] for name in names]
        shares[kind] = (COLOURS[kind], [100 * j[kind] / max(sum(j.values()), 1) for j in of])
    _stack(joints, names, shares)
    joints.set_xlabel("joints of persons found (%)")
    joints.set_title("Joints that are not good")
    handles, labels = costs.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=3, fontsize=7.5)
    costs.invert_yaxis()
    return figure


def _stack(axes, names: list[str], parts: dict[str, tuple[str, list[float]]]) -> None:
    left = [0.0] * len(names)
    for label, (colour, values) in parts.items():
        axes.barh(names, values, left=left, color=colour, label=label, ec="white", lw=0.5)
        left = [a + b for a, b in zip(left, values, strict=True)]
    axes.grid(axis="y", visible=False)


CAPTION = (
    "Kinds of errors after Ronchi and Perona (ICCV 2017). In turn: AP points gained by mending one"
    " kind after another, from left to right; they and AP are 100 together. Joints are those of"
    " persons found (OKS 0.1): good above a similarity of 0.85, jitter from 0.5 on, inversion near"
    " the left-right counterpart, swap near another person's joint, miss near to none. Background:"
    " results of nobody; duplicates are those of them that are near a person found already."
)


def names_of(paths: Sequence[Path]) -> list[str]:
    """Short names of the files, each another: our runs' own, else the file's, else its path."""

    def name(path: Path) -> str:
        try:
            run = run_of(path)
        except PoseError:
            return path.name
        boxes = path.stem.removeprefix("predictions_")
        return f"{run['run']}, seed {run['seed']}, {boxes} boxes"

    short = [name(path) for path in paths]
    return [str(p) if short.count(n) > 1 else n for p, n in zip(paths, short, strict=True)]


@command
def main(arguments: list[str] | None = None) -> None:
    args = command_line().parse_args(arguments)

    dataset = dataset_of(args.dataset)
    if dataset.metric != "AP":
        raise PoseError(f"--dataset {args.dataset} has no AP; the kinds of errors are for AP")
    if twice := [path for path in args.results if args.results.count(path) > 1]:
        raise PoseError(f"--results: {twice[0]} is named twice; name each file once")
    truth = dataset.read_truth(args.annotations)
    choices = args.rescore_threshold, args.oks_nms, args.soft_oks_nms
    found = {str(path): analyse(read_records(path, truth, choices), truth) for path in args.results}
    named = dict(zip(names_of(args.results), found.values(), strict=True))
    table = errors_table(named)
    if args.output_dir:
        text = f"{CAPTION} Annotations: {args.annotations.name}."
        tables.write_table(summarise(table), args.output_dir / "tables", args.name, "Errors", text)
        tables.write_csv(table.round(3), args.output_dir / "tables" / f"{args.name}.csv")
        style.save(errors_figure(named), args.output_dir / "figures", args.name)
    if args.json:
        print(json.dumps(found))
    else:
        print(summarise(table).set_index("results").T.to_markdown(disable_numparse=True))


if __name__ == "__main__":
    main()
