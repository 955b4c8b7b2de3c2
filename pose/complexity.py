"""What models cost: ``python -m pose.complexity MODEL... --input 256x192``.

Parameters: all of them. GMACs: multiply-adds / 1e9 of one forward pass in eval mode with batch 1,
by fvcore, which also counts batch normalisation (2 an element) and upsampling but no activation,
sum, product or max-pooling: those are named as unsupported. ``gmacs_conv_linear`` counts
convolutions and linear layers alone. Peak activation memory: the most bytes of tensors alive at
once during that pass in float32, as eager PyTorch frees them: the images and every operator's
output, not the weights, nor what a kernel allocates inside itself.

With ``--memory BATCH``, instead: the bytes that a training step on so many images keeps of each for
its backward pass, in float32 and in 16 bits, and those of the whole step with weights, gradients
and Adam's moments (:mod:`pose.training.memory` tells what is not counted).

With ``--latency DEVICE``, instead: the milliseconds of one image's forward pass, with the net as
pose.infer has it (batch normalisations folded, channels last) and without the mirrored crop. The
median of several passes; device and threads stand beside it, as it is no property of the model.
"""

from __future__ import annotations

import argparse
import csv
import json
import multiprocessing
import re
import statistics
import time
import warnings
import weakref
from collections.abc import Callable, Iterator
from copy import deepcopy
from dataclasses import dataclass
from functools import partial
from io import StringIO
from pathlib import Path
from typing import Any

from pose.support import cli
from pose.support.device import arithmetic, device_name, hardware, select_device
from pose.support.errors import PoseError, command
from pose.support.files import atomic, read_text

SHEET = ("model", "input", "num_keypoints")


def command_line() -> cli.Parser:
    """The options."""
    parser = cli.parser("pose.complexity", __doc__)
    parser.add_argument(
        "models", nargs="*", metavar="MODEL[@HxW]", help="a name of the model registry"
    )
    parser.add_argument("--input", metavar="HxW", help="such as 256x192, where MODEL has none")
    parser.add_argument("--num-keypoints", type=cli.whole(1, 10_000), default=17)
    parser.add_argument(
        "--sheet", type=Path, metavar="FILE", help=f"more of them: a CSV of {', '.join(SHEET)}"
    )
    instead = parser.add_mutually_exclusive_group()
    instead.add_argument(
        "--latency", type=device_name, metavar="DEVICE", help="of one image on auto, cpu or cuda"
    )
    instead.add_argument(
        "--memory", type=cli.whole(2, 10_000), metavar="BATCH", help="of training on BATCH images"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object a model")
    parser.add_argument("--csv", type=cli.output_file(), metavar="FILE", help="write a row a model")
    parser.add_argument("--workers", type=cli.WORKERS, default=1, help="processes that count")
    return parser


cli.answer_early(__name__, command_line)

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from pose.config import experiment
from pose.models import create_model
from pose.models.folding import fold_batch_norm
from pose.training.memory import BYTES_A_PARAMETER

PARTS = ("backbone", "neck", "head")
PASSES = 5  # latency is their median, to which the first ones' allocations do not matter
CONV_LINEAR = ("conv", "linear", "addmm")  # fvcore's names


@dataclass(frozen=True)
class Case:
    """A model to be measured; ``input`` is HxW in pixels."""

    model: str
    input: str
    num_keypoints: int


@dataclass(frozen=True)
class Complexity:
    """Cost of one forward pass with batch 1; the module's docstring defines each number.

    ``parts``: (params, GMACs) of backbone, neck and head, where the model has them.
    ``unsupported_ops``: operators that fvcore does not count, and how often each occurs.
    """

    params: int
    gmacs_fvcore: float
    gmacs_conv_linear: float
    peak_activation_mib: float
    parts: dict[str, tuple[int, float]]
    unsupported_ops: dict[str, int]


def measure(model: nn.Module, input_size: tuple[int, int]) -> Complexity:
    """Count the cost of ``model`` for images of ``input_size`` (height, width) in pixels."""
    training = model.training
    model.eval()
    images = torch.zeros(1, 3, *input_size, device=next(model.parameters()).device)
    macs, by_operator, by_module, unsupported = _count(model, images)
    parts = {part: getattr(model, part) for part in PARTS if hasattr(model, part)}
    complexity = Complexity(
        params=params_of(model),
        gmacs_fvcore=macs / 1e9,
        gmacs_conv_linear=sum(by_operator[operator] for operator in CONV_LINEAR) / 1e9,
        peak_activation_mib=_peak_activation_bytes(model, images) / 2**20,
        parts={name: (params_of(part), by_module[name] / 1e9) for name, part in parts.items()},
        unsupported_ops=dict(sorted(unsupported.items())),
    )
    model.train(training)
    return complexity


def input_size(text: str) -> tuple[int, int]:
    """``"256x192"`` to (height, width); PoseError unless both are positive multiples of 4."""
    match = re.fullmatch(r"(\d+)x(\d+)", text)
    sides = (int(match[1]), int(match[2])) if match else (0, 0)
    if not all(sides) or any(side % 4 for side in sides):
        raise PoseError(f"input {text!r}: give HEIGHTxWIDTH in multiples of 4, such as 256x192")
    return sides


def params_of(module: nn.Module) -> int:
    """All parameters, trained or not."""
    return sum(parameter.numel() for parameter in module.parameters())


def _count(model: nn.Module, images: Tensor) -> tuple[int, Any, Any, Any]:
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")  # its import warns that torch.jit is deprecated
        from fvcore.nn import FlopCountAnalysis

        counts = FlopCountAnalysis(model, images)
        counts.unsupported_ops_warnings(False).uncalled_modules_warnings(False)
        return (
            counts.total(),
            counts.by_operator(),
            counts.by_module(),
            counts.unsupported_ops(),
        )


def _peak_activation_bytes(model: nn.Module, images: Tensor) -> int:
    """Runs on the meta device, where tensors have a size and a life but no content."""
    model, images = deepcopy(model).to("meta"), images.to("meta")
    with torch.inference_mode(), _LiveTensors(model) as live:
        live.add(images)
        model(images)
    return live.peak


class _LiveTensors(TorchDispatchMode):
    """Follows how many bytes the outputs of all operators hold, weights excepted."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        # kept alive by the model, so their addresses are not used again
        self.known = {tensor.untyped_storage()._cdata for tensor in model.state_dict().values()}
        self.bytes = self.peak = 0

    def __torch_dispatch__(self, operator, types, args=(), kwargs=None):
        outputs = operator(*args, **(kwargs or {}))
        for output in tree_leaves(outputs):
            if isinstance(output, Tensor):
                self.add(output)
        return outputs

    def add(self, tensor: Tensor) -> None:
        """Count the tensor's storage, once, until the last tensor that shares it is gone."""
        storage = tensor.untyped_storage()
        if storage._cdata in self.known:
            return
        self.known.add(storage._cdata)
        self.bytes += storage.nbytes()
        self.peak = max(self.peak, self.bytes)
        weakref.finalize(storage, self._remove, storage._cdata, storage.nbytes())

    def _remove(self, address: int, size: int) -> None:
        self.known.remove(address)
        self.bytes -= size


def measured(case: Case) -> dict[str, Any]:
    """The row of ``case`` in the table that the command writes."""
    model = create_model(case.model, case.num_keypoints)
    complexity = measure(model, input_size(case.input))
    parts = complexity.parts
    return {
        **vars(case),
        "params": complexity.params,
        "gmacs_fvcore": round(complexity.gmacs_fvcore, 6),
        "gmacs_conv_linear": round(complexity.gmacs_conv_linear, 6),
        "peak_activation_mib": round(complexity.peak_activation_mib, 3),
        **{f"{part}_params": parts[part][0] if part in parts else None for part in PARTS},
        **{f"{part}_gmacs": round(parts[part][1], 6) if part in parts else None for part in PARTS},
        "unsupported_ops": " ".join(complexity.unsupported_ops),
    }


def training_memory(case: Case, images: int) -> dict[str, Any]:
    """The row of ``case`` for training on so many images at a time, by the model's own recipe."""
    from pose.training.activations import count  # takes a second to import

    dataset, size = "mpii" if case.num_keypoints == 16 else "coco", input_size(case.input)
    options = experiment(case.model, dataset, size).model_options.architecture()
    build = partial(create_model, case.model, case.num_keypoints, **options)
    fp32, half = (count(build, size, precision, images) for precision in ("fp32", "fp16"))
    return {
        **vars(case),
        "params": int(fp32.always) // BYTES_A_PARAMETER,
        "images": images,
        "bytes_fp32": round(fp32.an_image),
        "bytes_16bit": round(half.an_image),
        "step_gb_fp32": round(fp32.of(images) / 1e9, 3),
        "step_gb_16bit": round(half.of(images) / 1e9, 3),
    }


@arithmetic()
def latency(case: Case, device: torch.device) -> dict[str, Any]:
    """The row of ``case`` for the time of one image on ``device``."""
    model = create_model(case.model, case.num_keypoints).eval()
    model.to(device, memory_format=torch.channels_last)
    images = torch.zeros(1, 3, *input_size(case.input), device=device)
    fold_batch_norm(model, images)
    seconds = []
    for _ in range(PASSES):
        started = time.perf_counter()
        with torch.inference_mode():
            model(images).cpu()  # waits until a GPU has finished
        seconds.append(time.perf_counter() - started)
    return {
        **vars(case),
        "latency_ms": round(1e3 * statistics.median(seconds), 3),
        "passes": PASSES,
        "device": hardware(device),
        "threads": torch.get_num_threads(),
    }


def read_sheet(file: Path) -> list[Case]:
    """The cases of a CSV file with the columns of :data:`SHEET`; PoseError for another file."""
    try:
        rows = csv.DictReader(StringIO(read_text(file), newline=""))
        cases = [Case(r["model"], r["input"], int(r["num_keypoints"])) for r in rows]
    except (KeyError, TypeError, ValueError):
        cases = []
    if not cases:
        raise PoseError(f"{file}: not a sheet with the columns {', '.join(SHEET)}")
    return cases


def _cases(args: argparse.Namespace) -> list[Case]:
    cases = []
    for text in args.models:
        name, _, size = text.partition("@")
        if not (size or args.input):
            raise PoseError(f"{text}: give its input, as {text}@256x192 or by --input")
        cases.append(Case(name, size or args.input, args.num_keypoints))
    return cases + (read_sheet(args.sheet) if args.sheet else [])


def _measured(
    measured: Callable[[Case], dict[str, Any]], cases: list[Case], workers: int
) -> Iterator[dict[str, Any]]:
    if workers <= 1:
        yield from map(measured, cases)
        return
    spawn = multiprocessing.get_context("spawn")
    with spawn.Pool(workers, torch.set_num_threads, (1,)) as pool:
        yield from pool.imap(measured, cases)


@command
def main(argv: list[str] | None = None) -> None:
    parser = command_line()
    args = parser.parse_args(argv)
    if not (args.models or args.sheet):
        parser.error("name a MODEL or a --sheet")
    rows, measuring, workers = [], measured, args.workers
    if args.memory:
        measuring = partial(training_memory, images=args.memory)
    elif args.latency:  # in one process: others would slow it down
        measuring, workers = partial(latency, device=select_device(args.latency)), 1
    for row in _measured(measuring, _cases(args), workers):
        rows.append(row)
        shown = "\n".join(f"{key:20} {value}" for key, value in row.items())
        print(json.dumps(row) if args.json else shown, flush=True)
    if args.csv:
        with atomic(args.csv) as path, path.open("w", newline="") as file:
            writer = csv.DictWriter(file, rows[0], lineterminator="\n")
            writer.writeheader()
            writer.writerows(rows)


if __name__ == "__main__":
    main()
