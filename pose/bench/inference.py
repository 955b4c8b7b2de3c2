"""Inference of EEffPose-P0 on the CPU: latency of one image, and throughput of many."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Collection, Iterator
from contextlib import redirect_stderr, redirect_stdout
from copy import deepcopy
from functools import cache
from importlib.util import find_spec
from io import BytesIO, StringIO
from statistics import median

import torch
from torch import Tensor, nn

from pose.bench import gemm
from pose.bench.measure import Row, Settings, absent, as_it_comes, compare, interleave
from pose.bench.traffic import roofline, traffic
from pose.complexity import measure as complexity
from pose.models import create_model
from pose.models.folding import fold_batch_norm
from pose.support.allocator import keep_freed_memory
from pose.support.errors import PoseError

MODEL = "eeffpose-p0"
AS_IT_COMES = "eager, NCHW, as it comes"
BASELINE = "eager, NCHW, memory kept"
CHANNELS_LAST = "eager, channels last"
OURS = "channels last, BN folded, as pose.infer"
BAR = "OpenVINO"
QUICK = (BASELINE, OURS)
ONNX = ("onnx", "onnxscript", "onnxruntime")

Run = Callable[[Tensor], Tensor]


def _eager(model: nn.Module, _: Tensor) -> Run:
    @torch.inference_mode()
    def run(x: Tensor) -> Tensor:
        return model(x)

    return run


def _channels_last(model: nn.Module, images: Tensor) -> Run:
    twin = deepcopy(model).to(memory_format=torch.channels_last)
    run = _eager(twin, images)
    return lambda x: run(x.contiguous(memory_format=torch.channels_last))


def _folded(model: nn.Module, images: Tensor) -> Run:
    return _channels_last(fold_batch_norm(deepcopy(model), images), images)


def _compiled(model: nn.Module, images: Tensor) -> Run:
    run = _channels_last(torch.compile(deepcopy(model), dynamic=False), images)
    run(images)
    return run


def _onnxruntime(model: nn.Module, images: Tensor) -> Run:
    for package in ONNX:
        _require(package)
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    providers = ["CPUExecutionProvider"]
    session = onnxruntime.InferenceSession(_exported(model, images), options, providers)
    name = session.get_inputs()[0].name
    return lambda x: torch.from_numpy(session.run(None, {name: x.numpy()})[0])


def _openvino(model: nn.Module, images: Tensor) -> Run:
    for package in (*ONNX[:2], "openvino"):
        _require(package)
    import openvino

    settings = {
        "INFERENCE_PRECISION_HINT": "f32",  # some CPUs would take bfloat16
        "INFERENCE_NUM_THREADS": torch.get_num_threads(),
        "PERFORMANCE_HINT": "LATENCY",
    }
    core = openvino.Core()
    compiled = core.compile_model(core.read_model(_exported(model, images), b""), "CPU", settings)
    return lambda x: torch.from_numpy(compiled(x.numpy())[0].copy())


def _require(package: str) -> None:
    if find_spec(package) is None:
        raise PoseError(f"{package} is not installed")


@cache
def _exported(model: nn.Module, images: Tensor) -> bytes:
    """The model in ONNX, its batch normalisations folded, for inputs of exactly that shape."""
    folded = fold_batch_norm(deepcopy(model), images)
    file = BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(folded, (images,), dynamo=True, verbose=False).save(file)
    return file.getvalue()


_BUILDERS: dict[str, Callable[[nn.Module, Tensor], Run]] = {
    BASELINE: _eager,
    CHANNELS_LAST: _channels_last,
    OURS: _folded,
    "compiled, channels last": _compiled,
    "ONNX Runtime": _onnxruntime,
    BAR: _openvino,
}


def measure(settings: Settings) -> Iterator[Row]:
    size = (64, 48) if settings.quick else (256, 192)
    keep_freed_memory()
    model = create_model(MODEL).eval()
    gflop = 2 * complexity(model, size).gmacs_conv_linear
    for batch in (1, 2 if settings.quick else 32):
        images = torch.randn(batch, 3, *size)
        kind = "latency" if batch == 1 else "throughput"
        name = f"inference {kind}, {MODEL}, {size[0]}x{size[1]}, batch {batch}"
        unit = "ms" if batch == 1 else "images/s"
        runs, missing = variants(model, images, QUICK if settings.quick else tuple(_BUILDERS))
        steps = {variant: lambda run=run, x=images: run(x) for variant, run in runs.items()}
        repeats = settings.repeats * (4 if batch == 1 else 1)
        with as_it_comes(plain, size, batch) as baseline:
            steps = {AS_IT_COMES: baseline, **steps}
            seconds = interleave(steps, repeats, warmup=2 if batch == 1 else 1)
        convert = (lambda s: s * 1e3) if batch == 1 else (lambda s, n=batch: n / s)
        floor = gflop * batch / gemm.peak()
        limit = roofline(traffic(steps[OURS]), floor, median(seconds[OURS]))
        aims = {OURS: 3.0} if batch > 1 else {}
        yield from compare(name, seconds, unit, convert, AS_IT_COMES, aims, limit, floor)
        kept = {variant: times for variant, times in seconds.items() if variant != AS_IT_COMES}
        yield from compare(f"{name}, the same allocator", kept, unit, convert, BASELINE)
        if batch > 1 and BAR in seconds:
            pair = {variant: seconds[variant] for variant in (BAR, OURS)}
            yield from compare(f"{name}, of {BAR}'s", pair, unit, convert, BAR, {OURS: 0.75}, limit)
        for variant, reason in missing.items():
            yield absent(name, variant, unit, reason)


def plain(size: tuple[int, int], batch: int) -> Callable[[], Tensor]:
    """The baseline's forward pass."""
    run, images = _eager(create_model(MODEL).eval(), Tensor()), torch.randn(batch, 3, *size)
    return lambda: run(images)


def variants(
    model: nn.Module, images: Tensor, only: Collection[str] = tuple(_BUILDERS)
) -> tuple[dict[str, Run], dict[str, str]]:
    """Variant -> images to heat maps, all of ``model``; and variant -> why it is not there."""
    runs, missing = {}, {}
    for variant in only:
        build = _BUILDERS[variant]
        try:
            with redirect_stdout(StringIO()), redirect_stderr(StringIO()):
                runs[variant] = build(model, images)
        except Exception as error:  # of whatever library: the others are measured all the same
            missing[variant] = str(error).splitlines()[0]
    return runs, missing
