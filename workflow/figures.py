"""Which nets and runs the figures show, and the files that they are."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from pose.config.model_sheet import SWITCHES, ablation, model_sheet, row_of
from workflow.plan import FIGURE, Plan

BASELINE, ENHANCED = "1", "8"  # orders: every part plain, every part MEMe's
WITHOUT_MAPS = {"3", "4", "5", "7"}  # orders that the paper's Figure 9 leaves out


def nets(plan: Plan) -> list[str]:
    """The models of Figures 2 to 5: EffBase, EEffPose, and each of the ablation with another part.

    A part is a backbone, a neck or a head.
    """
    orders, sheet = ablation(model_sheet()), model_sheet()
    candidates = [orders[BASELINE], orders[ENHANCED]]
    candidates += [plan.runs[run].model for run in plan.ablation()]
    chosen: dict[str, list[tuple[str, str]]] = {}
    for model in candidates:
        parts = [(switch, sheet[model][switch]) for switch in SWITCHES]
        if not all(any(part in others for others in chosen.values()) for part in parts):
            chosen[model] = parts
    return list(chosen)


def size(plan: Plan) -> str:
    """The input that their features' sizes are of."""
    return "{}x{}".format(*(plan.config.complexity_input or plan.config.input))


def with_maps(plan: Plan) -> list[str]:
    """The runs of Figure 9: the paper's orders and further ones, or else all of the ablation."""
    orders = {run: row_of(plan.runs[run].model)["order"] for run in plan.ablation()}
    return [run for run, order in orders.items() if order not in WITHOUT_MAPS] or list(orders)


def example(plan: Plan, figure: str) -> str | None:
    """The run of Figure 6 (COCO or what there is in its stead) or 7 (MPII), EEffPose if it can be.

    None where the config has no such run.
    """
    runs = [run for run in plan.runs if (plan.runs[run].dataset.table == 4) == (figure == "7")]
    best = [run for run in runs if row_of(plan.runs[run].model)["order"] == ENHANCED]
    return next(iter([*best, *runs]), None)


def first_seed(plan: Plan, run: str, file: str) -> str:
    """A file of the first seed of a run."""
    return plan.files(file, [run])[0]


def targets(plan: Plan) -> Iterator[str]:
    """The files of all figures."""
    names = ["figure1", "figure1_today", *(f"figure{number}" for number in range(2, 6)), "training"]
    names += [f"figure{number}" for number in "67" if example(plan, number)]
    names += ["figure8", "figure9", "effects"] if plan.ablation() else []
    folder = Path(plan.results, "figures")
    yield from (str(folder / f"{name}.{kind}") for name in names for kind in FIGURE)
    yield str(folder / f"samples_{next(iter(plan.runs))}.png")
    yield from (str(folder / f"overlays_{run}.png") for run in plan.runs)
