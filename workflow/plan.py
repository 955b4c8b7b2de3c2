"""What the rules ask: the runs of a config, their files, and the arguments of their commands.

Functions of ``wildcards`` are input functions and parameters of rules; arguments are lists, which
the rules quote for the shell.
"""

from __future__ import annotations

import csv
import os
import shlex
import sys
from argparse import ArgumentTypeError
from collections.abc import Callable, Iterable, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from tabulate import tabulate

from pose.config.model_sheet import row_of
from pose.data.synthetic.rendered import is_current, own_files
from pose.datasets.identity import data_hash, run_identity
from pose.support.cli import output_folder
from pose.support.errors import PoseError, command
from pose.support.fingerprint import code_of
from pose.support.lock import Lock
from workflow.current import KEPT_LABEL, Training, question
from workflow.memory import memory_table
from workflow.runs import UNKNOWN, Run, scoring, suppression
from workflow.scripts.launch import devices
from workflow.settings import Config

TABLE, FIGURE = ("csv", "md", "html", "tex"), ("svg", "png", "pdf")
OF_ALL_RUNS = {"all", "table1", "figure1", "figure8", "figure9", "training_figure"}
OF_ALL_RUNS |= {"errors", "quality", "intervals", "effects", "claims", "html_report"}
"""Rules that can be asked for by name and stand on every training."""
OBTAINING = {"coco_data", "mpii_data", "coco_detections"}
"""Targets that need no data yet."""


class Plan:
    """A checked config, as the rules see it. PoseError for runs and results that cannot be."""

    def __init__(self, blocks: Sequence[Config], several: bool = False) -> None:
        """``several``: the config has a list of runs, whose names then tell data set and input."""
        self.config = blocks[0]
        self.results = f"results/{self.config.name}"
        try:
            output_folder(self.results)
        except ArgumentTypeError as error:  # Snakemake's own are tracebacks
            raise PoseError(str(error)) from None
        self.runs: dict[str, Run] = {}
        for run in (Run(model, block) for block in blocks for model in block.models):
            name = f"{run.settings.dataset}-{run.model}-{run.size}" if several else run.model
            if name in self.runs:
                raise PoseError(f"config: the run {name} is there twice")
            self.runs[name] = run
        try:
            self.experiments = {
                (name, seed): run.experiment(seed)
                for name, run in self.runs.items()
                for seed in self.config.seeds
            }
            for run in self.runs.values():
                run.check_detections()
        except PoseError as error:
            raise PoseError(f"config: {error}") from None
        self._stale: set[str] | None = None
        self._changed: list[Training] = []
        rendered = [run for run in self.runs.values() if run.dataset.is_rendered]
        self.rendered = rendered[0].settings if rendered else None
        """The settings by which people are rendered, or None."""
        if len({(run.root, run.settings.synthetic) for run in rendered}) > 1:
            raise PoseError(
                "config: give all runs the same data_root and synthetic; people are rendered once"
            )

    @cached_property
    def gpus(self) -> int:
        """How many GPUs a job uses: 0, or 1 that the profile may raise."""
        return int(
            self.config.device == "cuda" or (self.config.device == "auto" and any(devices()))
        )

    def loader_threads(self, cores: int | None, gpus: int | None) -> int:
        """A job's cores, of which all but one load: its GPU's share of ``cores``, at most 8.

        One where jobs run on the CPU, of which there may be many.
        """
        share = (cores or 8) // max(1, int(gpus or 1))
        return max(2, min(8, share)) if self.gpus else 1

    @property
    def device(self) -> str:
        """Where jobs run: of "auto" without a GPU :meth:`start` says once what it means."""
        return "cpu" if self.config.device == "auto" and not self.gpus else self.config.device

    def compared_in(self, table: int) -> list[str]:
        """The runs with the metric of one of the paper's comparison tables."""
        return [name for name, run in self.runs.items() if run.dataset.table == table]

    # Files

    def files(self, name: str, runs: Iterable[str] | None = None) -> list[str]:
        """The file ``name`` of every run and seed, for each source of boxes if it has {boxes}."""
        return [
            f"{self.results}/{run}/seed{seed}/{name.format(boxes=boxes)}"
            for run in (self.runs if runs is None else runs)
            for seed in self.config.seeds
            for boxes in (self.runs[run].boxes if "{boxes}" in name else [""])
        ]

    def folders(self, runs: Iterable[str] | None = None) -> list[str]:
        """The folder of every run and seed."""
        return [str(Path(file).parent) for file in self.files("weights.safetensors", runs)]

    def targets(self) -> list[str]:
        """Every file but the figures that results/README.md promises.

        Each is made again when it is missing.
        """
        ablation = self.ablation()
        tables = [*([1] if ablation else []), *self.comparisons()]
        found = ["claims", *(["effects", "effects_by_group"] if ablation else [])]
        of_runs = ["weights.safetensors", "training.jsonl", "performance.jsonl"]
        of_boxes = ["predictions_{boxes}.npz", "metrics_{boxes}.json", "persons_{boxes}.parquet"]
        of_boxes += ["intervals_{boxes}.json"]
        return [
            *(f"{self.results}/tables/table{n}.{kind}" for n in tables for kind in TABLE),
            *(f"{self.results}/tables/{name}.{kind}" for name in found for kind in TABLE),
            *(f"{self.results}/{name}.csv" for name in ("complexity", "latency")),
            f"{self.results}/resamples.parquet",
            *(file for name in (*of_runs, *of_boxes) for file in self.files(name)),
            *self.submissions(),
        ]

    def data_files(self, *splits: str) -> Callable[[Any], list[Path]]:
        """An input function: :meth:`data_of` the wildcard's run."""
        return lambda wildcards: self.data_of(wildcards.run, *splits)

    def data_of(self, name: str, *splits: str) -> list[Path]:
        """The files of a run's data whose change matters; images are not listed one by one."""
        run = self.runs[name]
        if run.dataset.is_rendered:
            return [self._receipt]
        paths = [run.dataset.annotations(run.root, split) for split in splits]
        return [path for path in paths if path.exists()]

    @property
    def _receipt(self) -> Path:
        """Written when people are rendered, whose folder is no output of Snakemake."""
        return Path(self.results, "rendered.txt")

    def obtained_root(self, dataset: str) -> str:
        """Where the first run on a data set looks for it."""
        settings = (run.settings for run in self.runs.values())
        roots = (one.data_root for one in settings if one.dataset == dataset)
        return next(roots, f"data/{dataset}")

    def initial_weights(self, wildcards: Any) -> list[str]:
        """The note that the published weights are there from which a training starts, if any."""
        init = self.runs[wildcards.run].experiment(self.config.seeds[0]).model_options.init
        note = f"{self.results}/{wildcards.run}/initial_weights.txt"
        return [] if init == "scratch" else [note]

    def run_directory(self, wildcards: Any) -> str:
        """Where a training keeps its checkpoints: a folder for each experiment and data."""
        return self._run_directory(wildcards.run, int(wildcards.seed))

    def _run_directory(self, run: str, seed: int) -> str:
        experiment = self.experiments[run, seed]
        key = run_identity(experiment, self.runs[run].data)
        return f"runs/{experiment.model}/seed{seed}/{key}"

    # Which runs the tables and figures show

    def ablation(self) -> list[str]:
        """The runs of Table 1 and Figure 8: the orders, on the first data set and input of any."""
        orders = {name: run for name, run in self.runs.items() if row_of(run.model)["order"]}
        settings = [(run.settings.dataset, run.settings.input) for run in orders.values()]
        return [name for name, pair in zip(orders, settings, strict=True) if pair == settings[0]]

    def submitted(self) -> list[str]:
        """The runs that predict COCO's test-dev."""
        return [name for name, run in self.runs.items() if run.settings.test_detections]

    def comparisons(self) -> list[int]:
        """The numbers of the paper's comparison tables that this config has something for."""
        others = set(self.runs) - set(self.ablation())
        parts = {
            2: others & set(self.compared_in(2)),
            3: self.submitted(),
            4: self.compared_in(4),
        }
        return [number for number, runs in parts.items() if runs]

    def compared_metrics(self, wildcards: Any) -> list[str]:
        """The metrics that a comparison table shows; test-dev has none."""
        return self.files("metrics_{boxes}.json", self.compared_in(int(wildcards.number)))

    def submissions(self, wildcards: Any = None) -> list[str]:
        """Test-dev's archives, which Table 3 names."""
        if wildcards is not None and wildcards.number != "3":
            return []
        return [
            f"{self.results}/{run}/seed{seed}/submission/"
            f"person_keypoints_test-dev2017_{run}-seed{seed}_results.zip"
            for run in self.submitted()
            for seed in self.config.seeds
        ]

    def counted_cases(self) -> list[str]:
        """A sheet for ``pose.complexity``: header and one line a model, input and keypoints."""
        lines = ["model,input,num_keypoints"]
        for run in self.runs.values():
            size = run.settings.complexity_input or run.settings.input
            lines.append("{},{}x{},{}".format(run.model, *size, len(run.dataset.keypoints)))
        return list(dict.fromkeys(lines))

    # Arguments

    def code(self, module: str, *models: str) -> str:
        """The fingerprint of a command's code, of the models' families if they are named."""
        return " ".join(sorted({code_of(module, model).fingerprint for model in models or [None]}))

    def data_root(self, wildcards: Any) -> str:
        return self.runs[wildcards.run].settings.data_root

    def experiment(self, wildcards: Any) -> str:
        """As JSON; of the first seed where the file is not of one."""
        seed = int(getattr(wildcards, "seed", self.config.seeds[0]))
        return self.experiments[wildcards.run, seed].model_dump_json()

    def pattern(self, *boxes: str) -> str:
        """What the names of the runs match that are evaluated with these sources of boxes."""
        names = [name for name, run in self.runs.items() if run.boxes == list(boxes)]
        return "|".join(names) or "(?!)"

    def both_boxes(self, wildcards: Any, gt_output: str) -> list[str]:
        """Where a detector saw people on the val images, and the file for their own boxes."""
        run = self.runs[wildcards.run]
        detections = str(run.root / run.settings.detections)
        return ["--detections", detections, "--gt-output", gt_output]

    def test_dev(self, wildcards: Any) -> list[str]:
        """The images of COCO's test-dev, and where a detector saw people on them."""
        run = self.runs[wildcards.run]
        return ["--split", "test-dev", "--detections", str(run.root / run.settings.test_detections)]

    def image_info(self, wildcards: Any) -> str:
        """The file that names test-dev's images."""
        run = self.runs[wildcards.run]
        return str(run.dataset.annotations(run.root, "test-dev"))

    def suppression(self, wildcards: Any) -> list[str]:
        """Rescoring and OKS-NMS of a run's test-dev results."""
        return suppression(self.experiments[wildcards.run, int(wildcards.seed)].test)

    def scoring(self, wildcards: Any) -> list[str]:
        """The arguments of ``pose.evaluate`` for a run."""
        experiment = self.experiments[wildcards.run, int(wildcards.seed)]
        root = self.runs[wildcards.run].root
        accepted = self.trainings[wildcards.run, int(wildcards.seed)].acceptance()
        kept = {KEPT_LABEL: accepted} if accepted else {}
        return scoring(experiment, root, wildcards.seed, wildcards.boxes, **kept)

    def truths(self) -> list[str]:
        """The data sets that are scored, each with the file of its truth."""
        files = {run.dataset.name: run.dataset.ground_truth(run.root) for run in self.runs.values()}
        return [f"{name}={file}" for name, file in files.items()]

    def options(self, files: Iterable[str], entries: Iterable[str]) -> str:
        """The options by which another checkout makes these results: its configs, and --config."""
        here = [os.path.relpath(file) for file in files]
        words = ["--cores", "all", *(["--configfile", *here] if here else [])]
        return shlex.join([*words, *(["--config", *entries] if entries else [])])

    # Before and after

    def check(self, targets: Iterable[str]) -> set[str]:
        """The files of the targets that are there, but have to be made again.

        Ends Snakemake, before the first job, if it would render into somebody else's folder, or if
        the code of trainings on real data has changed and the config does not say what to do.
        """
        if self._stale is None:
            try:
                self._stale = self._check(self._trainings(targets))
            except (PoseError, OSError) as error:  # a folder may be unreadable, its name too long
                stop(error)
        return self._stale

    def _check(self, trainings: list[Training]) -> set[str]:
        if self.gpus:
            first = {name: self.experiments[name, self.config.seeds[0]] for name in self.runs}
            print(memory_table(first), file=sys.stderr)
        stale = [] if self.rendered is None or self._is_rendered else [self._receipt]
        self._changed = [one for one in trainings if one.is_changed]
        if asked := [one for one in self._changed if one.choice is None]:
            stop(question(asked))
        stale += [file for one in trainings for file in one.stale()]
        empty = [
            file for file in map(Path, self.targets()) if file.is_file() and not file.stat().st_size
        ]
        return {str(file) for file in [*stale, *empty] if file.exists()}

    def _trainings(self, targets: Iterable[str]) -> list[Training]:
        """The trainings that stand behind Snakemake's targets."""
        of_runs = ("table", "errors", "quality", "controls", "audit", "effects", "claims")
        names = (*(f"tables/{name}" for name in of_runs), "figures/", "report.html")
        shared = tuple(f"{self.results}/{name}" for name in names)
        every = not targets or any(t in OF_ALL_RUNS or t.startswith(shared) for t in targets)
        return [
            training
            for training in self.trainings.values()
            if every or any(target.startswith(f"{training.folder}/") for target in targets)
        ]

    @cached_property
    def trainings(self) -> dict[tuple[str, int], Training]:
        """Every run and seed."""
        return {
            (name, seed): Training(
                experiment,
                self._annotations(self.runs[name]),
                Path(self.results, name, f"seed{seed}"),
                Path(self._run_directory(name, seed)),
                # A training on rendered people takes minutes; another one is the user's to decide.
                self.config.on_code_change
                or ("retrain" if self.runs[name].dataset.is_rendered else None),
            )
            for (name, seed), experiment in self.experiments.items()
        }

    def _annotations(self, run: Run) -> str | None:
        """The hash of a run's annotations as they will be; None where that is not known."""
        if run.dataset.is_rendered:
            return data_hash(run.dataset.name, run.root) if self._is_rendered else None
        return None if run.data == UNKNOWN else run.data

    @cached_property
    def _is_rendered(self) -> bool:
        """Whether people need not be rendered; PoseError for somebody else's folder."""
        own_files(Path(self.rendered.data_root))  # for its PoseError
        return is_current(Path(self.rendered.data_root), self.rendered.synthetic)

    @command
    def start(self, targets: Iterable[str], trains: bool = False, needs_gpu: bool = False) -> None:
        """End Snakemake, before the first job, where another one works or something is missing.

        That is the data, those to train on where it ``trains``, or a GPU of this machine where it
        ``needs_gpu``. A dry run plans without them.
        """
        self._lock = Lock(Path(".snakemake/pose.support.lock"))  # until this process ends
        if not self._lock.acquire():
            holder = self._lock.holder()
            raise PoseError(f"another Snakemake ({holder}) works in this folder; wait for it")
        if self.config.device == "auto" and not self.gpus:
            print("device auto: no GPU is visible, so everything runs on the CPU", file=sys.stderr)
        if not OBTAINING & set(targets):
            for run in self.runs.values():
                if not run.dataset.is_rendered:
                    run.require_data(*(["train"] if trains else []), "val")
        if needs_gpu and self.config.device == "cuda" and not any(devices()):
            raise PoseError("device cuda: no GPU is visible; set device: cpu or auto")
        for training in self._changed:
            if training.choice == "keep":
                training.keep()
            else:
                training.put_aside()

    def summary(self, targets: Iterable[str]) -> str:
        """What was measured and where the rest lies."""
        if tables := [target for target in ("published", "released") if target in targets]:
            return "".join(f"\nTable: {self.results}/tables/{name}.html\n" for name in tables)
        shown, table = "", Path(self.results, "tables/table1.csv")
        if table.exists():
            rows = list(csv.DictReader(table.open()))
            names = ("order", "seeds", "verdict")
            columns = [c for c in rows[0] if c in names or c.endswith((" mean", " sd"))]
            shown = tabulate([[row[c] for c in columns] for row in rows], headers=columns)
        return f"\n{shown}\n\nTables and figures: {self.results}/tables, {self.results}/figures\n"


def stop(message: object) -> None:
    """End Snakemake with one line."""
    sys.exit(f"error: {message}")
