"""Training and inference on a GPU, beside the released way: eager, NCHW, PyTorch's default TF32.

A step's share of the peak is that of the memory's bandwidth, by the least that has to move: what
the forward pass keeps, written once and read once.
"""

from __future__ import annotations

import itertools
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import torch

from pose.bench.measure import Row, Settings, absent, as_it_comes, compare, interleave
from pose.config import Experiment, experiment
from pose.data.dataset import PoseDataset
from pose.data.loader import EpochBatches, training_loader
from pose.data.samples import open_split
from pose.data.synthetic.render import write_dataset
from pose.data.synthetic.rendered import SyntheticSettings
from pose.datasets import dataset_of
from pose.evaluation.flip_test import flip_average
from pose.models import create_model
from pose.models.folding import fold_batch_norm
from pose.support.device import arithmetic, select_device
from pose.support.rates import bandwidth, seconds
from pose.training.faults import out_of_memory
from pose.training.memory import FREE, expected
from pose.training.optimizer import create_optimizer
from pose.training.step import Stepper

ORDERS = tuple(f"eeffpose-p0-order{order}" for order in range(1, 9))
MODELS = (ORDERS[0], ORDERS[7], "hrnet-w32", "litehrnet-18")
SMALL = ("shufflenetv2",)
"""Stands for the orders in a quick run."""
CHUNKS, WORKERS, STEPS = (16, 64, 256), (1, 8, 15), 2
PERSONS, EPOCHS = 149_813, 215
"""COCO's training set and the released schedule (docs/data.md, docs/protocols.md)."""


@dataclass(frozen=True)
class Way:
    """How a step is computed."""

    precision: str
    channels_last: bool = True
    fused: bool = True
    cudnn_benchmark: bool = False
    compile: bool = False
    cuda_graph: bool = False

    def settings(self, model: str, size: tuple[int, int], images: int) -> Experiment:
        train = {**vars(self), "batch_size": images, "cpu_kernels": False}
        # Recipes cut their batch into chunks, and these images are one.
        train |= {"micro_batch": None, "synchronised_batch_norm": True}
        overrides = {"model_options": {"init": "scratch"}, "train": train}
        return experiment(model, "coco", size, "controlled", 0, overrides)


RELEASED = "as released: eager, NCHW, TF32"
OURS = "fp16, recorded"
EQUAL = "tf32, recorded"
"""Ours at the precision of the released way."""
PRECISIONS = {RELEASED: Way("tf32", channels_last=False, fused=False)}
PRECISIONS |= {name: Way(name) for name in ("fp32", "tf32", "fp16", "bf16")}
OTHERS = {
    "fp16": Way("fp16"),
    "fp16, NCHW": Way("fp16", channels_last=False),
    "fp16, cudnn.benchmark": Way("fp16", cudnn_benchmark=True),
    OURS: Way("fp16", cuda_graph=True),
    EQUAL: Way("tf32", cuda_graph=True),
}
FAST = {"fast numerics": Way("fp16", cudnn_benchmark=True, compile=True, cuda_graph=True)}
"""The preset, which takes its time to compile."""


def measure(settings: Settings) -> Iterator[Row]:
    if not torch.cuda.is_available() and not settings.quick:
        yield absent("gpu", RELEASED, "images/s", "no GPU is visible")
        return
    device = select_device("auto")
    bench = Bench(device, (64, 64) if settings.quick else (256, 192), settings)
    started, peak = time.monotonic(), bandwidth(device)
    yield Row("memory bandwidth", "copy", peak, peak, peak, 20, "GB/s")
    orders, chunk = (SMALL, 2) if settings.quick else (ORDERS, CHUNKS[0])
    of_the_orders, trained = {_title(order, chunk) for order in orders}, []
    for name, part in _parts(bench, peak, orders, chunk).items():
        if time.monotonic() - started > settings.within:
            yield absent(name, "", "images/s", f"not begun within {settings.within:g} s")
            continue
        try:
            rows = part(name)
        except Exception as problem:  # the other tables are measured all the same
            rows = [absent(name, "", "images/s", _reason(problem))]
        torch.cuda.empty_cache()  # other sizes come next, and other processes
        trained += rows if name in of_the_orders else []
        yield from rows
    yield from hours(trained, len(orders), chunk)


def _parts(
    bench: Bench, peak: float, orders: tuple[str, ...], chunk: int
) -> dict[str, Callable[[str], list[Row]]]:
    """What is measured, by its title: what tells most comes first, as time may run out."""
    quick = bench.settings.quick
    models, larger = (orders, (3,)) if quick else (MODELS, CHUNKS[1:])
    released = {RELEASED: PRECISIONS[RELEASED]}
    compared = released | {name: OTHERS[name] for name in (OURS, EQUAL)}
    ways = dict(list(PRECISIONS.items())[:2]) if quick else PRECISIONS

    def steps(model: str, images: int, chosen: dict[str, Way]) -> Callable[[str], list[Row]]:
        return lambda name: bench.steps(name, model, images, chosen, peak)

    parts = {_title(order, chunk): steps(order, chunk, compared) for order in orders}
    parts["loader, end to end"] = lambda _: bench.loading_and_all(orders[-1], chunk)
    for batch in (1,) if quick else (1, 64):
        parts[f"inference with flip, {orders[-1]}, batch {batch}"] = lambda name, batch=batch: (
            bench.inference(name, orders[-1], batch)
        )
    parts[f"training, processes on one card, {orders[0]}, {chunk}"] = lambda name: (
        bench.side_by_side(name, orders[0], chunk)
    )
    for model in models:
        every = ways | (OTHERS if model in orders else compared)
        parts[f"{_title(model, chunk)}, all ways"] = steps(model, chunk, every)
    for images, model in itertools.product(larger, models):
        parts[_title(model, images)] = steps(model, images, ways | compared)
    if not quick:
        parts[f"{_title(orders[0], chunk)}, compiled"] = steps(orders[0], chunk, released | FAST)
    return parts


def _reason(problem: Exception) -> str:
    return f"{type(problem).__name__}: {problem}".splitlines()[0]


def _title(model: str, images: int) -> str:
    return f"training, {model}, {images}"


@dataclass(frozen=True)
class Bench:
    """Measurements on one device with crops of one size."""

    device: torch.device
    size: tuple[int, int]
    settings: Settings

    def timed(
        self, runs: Mapping[str, Callable[[], object]], images: int
    ) -> dict[str, list[float]]:
        """Seconds of a call of each, one variant after another, by the clock of the device."""
        calls = 1 if self.settings.quick or images > CHUNKS[0] else STEPS
        times: dict[str, list[float]] = {name: [] for name in runs}
        for _ in range(self.settings.repeats):
            for name, run in runs.items():
                times[name].append(seconds(run, self.device, calls))
        return times

    def step(self, way: Way, model: str, images: int) -> Callable[[], None]:
        """A training step from crops in the CPU's memory."""
        chosen = way.settings(model, self.size, images)
        torch.manual_seed(0)
        net = create_model(model).to(self.device).train()
        if way.channels_last:
            net = net.to(memory_format=torch.channels_last)
        take = Stepper(net, create_optimizer(net, chosen.train), chosen, self.device)
        height, width = self.size
        crops = {
            "image": torch.randint(256, (images, height, width, 3), dtype=torch.uint8),
            "joints": torch.rand(images, 17, 2) * torch.tensor([width, height]),
            "visible": torch.ones(images, 17),
        }
        if self.device.type == "cuda":
            crops = {name: values.pin_memory() for name, values in crops.items()}
        return partial(self.take, take, way, crops)

    def take(self, take: Stepper, way: Way, crops: dict[str, torch.Tensor]) -> None:
        with arithmetic(way.precision == "tf32", way.cudnn_benchmark):
            take(crops, 0)

    def steps(
        self, name: str, model: str, images: int, ways: Mapping[str, Way], peak: float
    ) -> list[Row]:
        """Images a second of the ways that fit the card, and what memory they take."""
        runs, told, missing = {}, {}, []
        for variant, way in ways.items():
            train = way.settings(model, self.size, images).train
            need = expected(model, self.size, train)
            try:
                if self._card() and need.of(images) > FREE * self._card():
                    raise MemoryError
                run = self.step(way, model, images)
                memory = self._memory(run)
            except Exception as problem:  # a compiler's too: the others are measured all the same
                full = f"needs {need.of(images) / 1e9:.0f} GB"
                reason = full if out_of_memory(problem) else _reason(problem)
                missing.append(absent(name, variant, "images/s", reason))
                continue
            runs[variant] = run
            told[variant] = (
                f"{memory}predicted {images * need.an_image / 1e9:.1f} GB",
                images * need.traffic / (peak * 1e9),
            )
        if not runs:
            return missing
        baseline = RELEASED if RELEASED in runs else next(iter(runs))
        rows = compare(name, self.timed(runs, images), "images/s", lambda s: images / s, baseline)
        return [
            replace(row, limit=told[row.variant][0], peak_share=share * row.median / images)
            for row in rows
            for share in [told[row.variant][1]]
        ] + missing

    def _card(self) -> int:
        """Bytes of the GPU's memory; 0 for a CPU."""
        on_gpu = self.device.type == "cuda"
        return torch.cuda.get_device_properties(self.device).total_memory if on_gpu else 0

    def _memory(self, run: Callable[[], object]) -> str:
        """What a call takes at its peak beyond what is allocated before and after."""
        if self.device.type != "cuda":
            run()
            return ""
        torch.cuda.reset_peak_memory_stats(self.device)
        others = torch.cuda.memory_allocated(self.device)
        run()
        peak = torch.cuda.max_memory_allocated(self.device) - others
        return f"peak {peak / 1e9:.1f} GB beside the weights, "

    def side_by_side(self, name: str, model: str, images: int) -> list[Row]:
        """Two trainings on one card against one, both counted in images a second of all."""
        calls = 1 if self.settings.quick else 20
        with ExitStack() as stack, ThreadPoolExecutor(2) as threads:
            place = (self.device, self.size, self.settings, model, images, calls)
            one, two = (stack.enter_context(as_it_comes(several_steps, *place)) for _ in range(2))
            both = lambda: list(threads.map(lambda run: run(), (one, two)))  # noqa: E731
            times = interleave({"one process": one, "two processes": both}, self.settings.repeats)
        times["two processes"] = [s / 2 for s in times["two processes"]]
        return compare(name, times, "images/s", lambda s: calls * images / s, "one process")

    def inference(self, name: str, model: str, images: int) -> list[Row]:
        """Images a second with flip; ours as ``pose.infer`` predicts, in fp32."""
        keypoints, draw = dataset_of("coco").keypoints, torch.randn(images, 3, *self.size)
        runs = {}
        for variant, tf32, layout in (
            (RELEASED, True, torch.contiguous_format),
            ("fp32", False, torch.channels_last),
        ):
            net = create_model(model).eval().to(self.device, memory_format=layout)
            crops = draw.to(self.device, memory_format=layout)
            if variant != RELEASED:
                fold_batch_norm(net, crops[:1])
            runs[variant] = partial(_flip, net, crops, keypoints, tf32)
            runs[variant]()
        return compare(name, self.timed(runs, images), "images/s", lambda s: images / s, RELEASED)

    def loading_and_all(self, model: str, images: int) -> list[Row]:
        """Samples a second from JPEG files, and of trainings that are fed by them."""
        batches, rows = 2 if self.settings.quick else 24, []
        with tempfile.TemporaryDirectory() as folder:
            people = SyntheticSettings(train_images=4 if self.settings.quick else 200, val_images=1)
            write_dataset(Path(folder, "data"), people)
            samples = open_split("synthetic", Path(folder, "data"), "train", self.size)
            chosen = PRECISIONS[RELEASED].settings(model, self.size, images)
            dataset = PoseDataset(samples, self.size, chosen.augmentation)
            ways = {RELEASED: PRECISIONS[RELEASED], OURS: OTHERS[OURS]}
            for workers in (1,) if self.settings.quick else WORKERS:
                order = EpochBatches(len(dataset), images, 0)
                loader = training_loader(dataset, order, workers, self.device)
                feed = partial(_batches, loader, batches)
                runs = {"loader": lambda feed=feed: [None for _ in feed()]}
                if workers == 8 or self.settings.quick:
                    for name, way in ways.items():
                        step = self.step(way, model, images)
                        runs[name] = partial(self._fed, feed, way, step.args[0])
                times = interleave(runs, self.settings.repeats)
                rate = lambda s: batches * images / s  # noqa: E731
                title = f"rendered people, {{}}, {workers} worker{'s' * (workers > 1)}"
                only = {"loader": times.pop("loader")}
                rows += compare(title.format("loader"), only, "images/s", rate, "loader")
                if times:
                    title, aims = title.format(f"end to end, {model}, {images}"), {OURS: 4.0}
                    limit = "the loader or the step, whichever row above is slower"
                    rows += compare(title, times, "images/s", rate, RELEASED, aims, limit)
        return rows

    def _fed(self, feed: Callable[[], Iterable], way: Way, take: Stepper) -> None:
        for batch in feed():
            self.take(take, way, batch)
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)


def hours(rows: Iterable[Row], orders: int, images: int) -> list[Row]:
    """How long all of the paper's orders take to train on COCO, by their steps alone."""
    name = f"the paper's orders on COCO, chunks of {images}"
    times: dict[str, list[float]] = {RELEASED: [], OURS: [], EQUAL: []}
    for row in rows:
        if row.median:
            times[row.variant].append(PERSONS * EPOCHS / row.median)
    if any(len(seconds) < orders for seconds in times.values()):
        return [absent(name, OURS, "h", "some order's steps were not measured")]
    totals = {variant: [sum(seconds)] for variant, seconds in times.items()}
    return compare(name, totals, "h", lambda seconds: seconds / 3600, RELEASED)


def _batches(loader: Iterable, count: int) -> Iterable:
    """``count`` batches, of as many epochs as it takes; the loader's processes live on."""
    epochs = itertools.chain.from_iterable(itertools.repeat(loader))
    return itertools.islice(epochs, count)


def several_steps(
    device: torch.device,
    size: tuple[int, int],
    settings: Settings,
    model: str,
    images: int,
    calls: int,
) -> Callable[[], None]:
    """A function that takes ``calls`` steps and waits for the device."""
    run = Bench(device, size, settings).step(OTHERS[OURS], model, images)
    return lambda: seconds(run, device, calls) and None


@torch.inference_mode()
def _flip(net: torch.nn.Module, crops: torch.Tensor, keypoints: object, tf32: bool) -> None:
    with arithmetic(tf32):
        flip_average(net, crops, keypoints, 1)
