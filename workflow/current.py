"""Which results are out of date, by what they say themselves that they were made from.

Snakemake's own memory is not needed for it, so that results may be copied without. Whether a
training whose code has changed since is kept or repeated, is for the user to say.
"""

from __future__ import annotations

import json
import zipfile
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np

from pose.config import Experiment
from pose.datasets.identity import run_identity
from pose.support.errors import PoseError
from pose.support.files import write_file
from pose.support.fingerprint import Code, code_of
from pose.support.lock import Lock
from pose.training import record
from pose.weights.about import read_plain

KEPT = "kept_code.json"
"""Beside weights: with which later codes the user accepted the code of their training."""
KEPT_LABEL = "kept_code"
"""The label of scores that says so."""
SHOWN = 5
"""Changed files that are named."""


@dataclass(frozen=True)
class Training:
    """The run and seed whose results lie in ``folder`` and checkpoints in ``run_dir``.

    ``data``: the hash of its annotations, None where they are not there yet. ``choice``: whether to
    keep or to retrain it where its code has changed, None where that has to be asked.
    """

    experiment: Experiment
    data: str | None
    folder: Path
    run_dir: Path
    choice: str | None

    @property
    def weights(self) -> Path:
        return self.folder / "weights.safetensors"

    @cached_property
    def begun(self) -> dict[str, Any] | None:
        """What run.json tells of checkpoints, finished or not."""
        return record.read(self.run_dir) if any(self.run_dir.glob("checkpoint-*.pt")) else None

    @cached_property
    def finished(self) -> dict[str, Any] | None:
        """What the weights tell of themselves, if they are of this experiment and data."""
        told = about(self.weights)
        if "made_from" not in told:  # an earlier version's
            return (
                told if told.get("experiment") == self.experiment.model_dump(mode="json") else None
            )
        expected = self.data and run_identity(self.experiment, self.data)
        return told if expected in (None, told["made_from"]["experiment"]) else None

    @cached_property
    def code(self) -> Code:
        """The present code of its step."""
        return code_of("pose.train", self.experiment.model, self.experiment.dataset)

    @property
    def is_changed(self) -> bool:
        """Whether it was made, as far as it is, by other code, which nobody accepted."""
        told = self.finished or self.begun
        if told is None or (self.begun and _code(self.begun) == self.code.fingerprint):
            return False
        made = _code(told)
        return made != self.code.fingerprint and self.code.fingerprint not in self.kept.get(
            made, []
        )

    @property
    def kept(self) -> dict[str, list[str]]:
        """Fingerprint of a training's code -> the later ones beside which it was accepted."""
        told = about(self.folder / KEPT)
        return {code: later for code, later in told.items() if isinstance(later, list)}

    @property
    def is_to_train(self) -> bool:
        """Whether there are no weights of this experiment, data and code, or of accepted code."""
        if not self.finished or (self.is_changed and self.choice == "retrain"):
            return True
        again = self.begun and _code(self.begun) == self.code.fingerprint
        return bool(again) and _code(self.finished) != self.code.fingerprint

    def acceptance(self) -> str | None:
        """What its scores say of later code, beside which the user accepted its own."""
        if self.is_to_train:
            return None
        made = _code(self.finished)
        later = self.kept.get(made, [])
        if self.is_changed and self.choice == "keep":
            later = [*later, self.code.fingerprint]
        return f"{made}, kept beside {', '.join(later)}" if later else None

    def stale(self) -> list[Path]:
        """The files that are there, but are not of this experiment, data and code.

        What is made of a stale file follows by itself.
        """
        if not self.weights.exists():
            return []
        if self.is_to_train:
            return [self.weights]
        found, origin = [], self.finished.get("made_from", {"code": {}})
        model, dataset = self.experiment.model, self.experiment.dataset
        for pattern, step, code in (
            ("predictions_*.npz", "infer", code_of("pose.infer", model, dataset)),
            ("metrics_*.json", "evaluate", code_of("pose.evaluate", dataset=dataset)),
        ):
            origin = origin | {"code": origin["code"] | {step: code.fingerprint}}
            for path in sorted(self.folder.glob(pattern)):
                told = about(path)
                accepted = told.get(KEPT_LABEL) == self.acceptance() or step != "evaluate"
                if told.get("made_from") != origin or not accepted:
                    found.append(path)
        return found

    def describe(self) -> str:
        """One line: how far it is, and what has changed since."""
        told, far = self.finished or self.begun, self.begun
        epochs = f"{far['epochs_done']} of {far['epochs']} epochs" if far else "finished"
        if "code_files" not in told:
            return f"{self.folder}: {epochs}; by an earlier version, which did not note its code"
        before, now = told["code_files"], self.code.files
        files = sorted(file for file in before | now if before.get(file) != now.get(file))
        more = f" and {len(files) - SHOWN} more" if len(files) > SHOWN else ""
        since = f" since commit {told['commit'][:8]}" if told.get("commit") else ""
        return f"{self.folder}: {epochs}; changed{since}: {', '.join(files[:SHOWN])}{more}"

    def keep(self) -> None:
        """Note that the user accepts its code beside the present one."""
        made = _code(self.finished or self.begun)
        kept = self.kept | {made: [*self.kept.get(made, []), self.code.fingerprint]}
        write_file(self.folder / KEPT, json.dumps(kept) + "\n")

    def put_aside(self) -> None:
        """Rename the run folder, so that the training starts again and nothing is lost.

        Raises PoseError while a trainer works in it.
        """
        if self.begun is None:
            return
        lock = Lock(self.run_dir / "lock")
        if not lock.acquire():
            raise PoseError(f"a trainer ({lock.holder()}) holds {self.run_dir}; stop it first")
        name = f"{self.run_dir.name}-{_code(self.begun)}"
        names = (name if n == 1 else f"{name}-{n}" for n in count(1))
        self.run_dir.rename(next(p for p in map(self.run_dir.with_name, names) if not p.exists()))
        lock.release()


def question(changed: Iterable[Training]) -> str:
    """Whether to keep or to repeat trainings whose code has changed."""
    lines = "\n  ".join(training.describe() for training in changed)
    return (
        f"the code has changed since these trainings:\n  {lines}\n"
        "add --config on_code_change=keep to keep them, and go on with those half done, or"
        " on_code_change=retrain to train them again"
    )


def about(path: Path) -> dict[str, Any]:
    """What a result tells of itself; empty for one that is missing or damaged."""
    try:
        if path.suffix == ".safetensors":
            return read_plain(path)
        if path.suffix == ".npz":
            with np.load(path, allow_pickle=False) as arrays:
                return json.loads(str(arrays["about"]))
        told = json.loads(path.read_bytes())
        return told if isinstance(told, dict) else {}
    except (PoseError, OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        return {}


def _code(told: dict[str, Any]) -> str:
    """The fingerprint of the code that trained last."""
    codes = told["made_from"]["code"]["train"] if "made_from" in told else "unknown"
    return codes.rpartition(record.JOINER)[2]
