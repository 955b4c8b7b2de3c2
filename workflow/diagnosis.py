"""Which runs have controls, an audit and kinds of errors, and the arguments of their commands."""

from __future__ import annotations

from typing import Any

from workflow.plan import FIGURE, TABLE, Plan
from workflow.runs import suppression

TABLES = ("quality", "controls", "audit")


def controlled(plan: Plan) -> dict[str, list[str]]:
    """The first run on each data set with its boxes -> all such runs, whose controls it keeps."""
    groups: dict[tuple[Any, ...], list[str]] = {}
    for name, run in plan.runs.items():
        told = run.settings
        groups.setdefault((told.dataset, told.data_root, told.detections), []).append(name)
    return {names[0]: names for names in groups.values()}


def controls(plan: Plan) -> list[str]:
    """The files of controls."""
    return [f"{plan.results}/{run}/controls.csv" for run in controlled(plan)]


def experiments(plan: Plan, run: str) -> list[str]:
    """As JSON, those of the first seed of all runs that a file of controls is for."""
    names = controlled(plan).get(run, [run])
    return [plan.experiments[name, plan.config.seeds[0]].model_dump_json() for name in names]


def detections(plan: Plan, run: str) -> list[str]:
    """Where a detector saw people, if its boxes are used beside the true ones."""
    name = plan.runs[run].settings.detections
    return ["--detections", str(plan.runs[run].root / name)] if name else []


def audit(plan: Plan) -> str:
    """The audit of the last run of the ablation, or of all runs, by its first seed."""
    last = (plan.ablation() or list(plan.runs))[-1]
    return plan.files("audit.csv", [last])[0]


def analysed(plan: Plan) -> list[str]:
    """The runs whose kinds of errors are told: the ablation, or all on the first data set by AP."""
    by_ap = [name for name, run in plan.runs.items() if run.dataset.metric == "AP"]
    of_ablation = [name for name in plan.ablation() if name in by_ap]
    return of_ablation or [name for name in by_ap if _place(plan, name) == _place(plan, by_ap[0])]


def _place(plan: Plan, run: str) -> tuple[str, str]:
    return plan.runs[run].settings.dataset, plan.runs[run].settings.data_root


def predictions(plan: Plan) -> list[str]:
    """Theirs, in a detector's boxes where there are such, as background comes with these."""
    return [
        file
        for name in analysed(plan)
        for file in plan.files(f"predictions_{plan.runs[name].boxes[-1]}.npz", [name])
    ]


def errors(plan: Plan) -> list[str]:
    """The data set and its annotations, and how predictions become results."""
    if not analysed(plan):
        return []
    name = analysed(plan)[0]
    run, test = plan.runs[name], plan.experiments[name, plan.config.seeds[0]].test
    truth = str(run.dataset.ground_truth(run.root))
    return ["--dataset", run.dataset.name, "--annotations", truth, *suppression(test)]


def targets(plan: Plan) -> list[str]:
    """Every file of the diagnosis that results/README.md promises."""
    kinds = [(f"tables/{name}", TABLE) for name in TABLES]
    if analysed(plan):
        kinds += [("tables/errors", TABLE), ("figures/errors", FIGURE)]
    files = [f"{plan.results}/{name}.{kind}" for name, suffixes in kinds for kind in suffixes]
    return [*files, *controls(plan), audit(plan)]
