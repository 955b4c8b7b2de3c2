"""Find the joints of people on one's own photos: ``python -m pose.predict``.

Writes each photo with the skeletons drawn on it, NAME_pose.jpg, and predictions.json, a list of
COCO results that name their image. The checkpoint is a name of ``pose.weights list``, one of these
files, or one that pose.train or ``pose.weights convert`` wrote.
"""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

from pose.support import cli
from pose.support.device import device_name, select_device
from pose.support.errors import PoseError, command, nearest
from pose.support.files import read_json, write_file, writing


def command_line() -> cli.Parser:
    """The options."""
    parser = cli.parser("pose.predict", __doc__)
    parser.add_argument("images", nargs="+", type=Path, metavar="IMAGE")
    parser.add_argument("--checkpoint", required=True, help="a file or a published name")
    parser.add_argument(
        "--boxes",
        type=Path,
        metavar="B.json",
        help='people: {"photo.jpg": [[x, y, width, height], ...]}, or a list of detections;'
        " default: the whole image",
    )
    parser.add_argument("--output-dir", type=cli.output_folder, default=Path("predictions"))
    parser.add_argument("--device", type=device_name, default="auto", help=cli.DEVICE)
    return parser


cli.answer_early(__name__, command_line)

import cv2
import numpy as np
import torch
from torch import nn
from torch.utils.data import Dataset

from pose.config import Experiment
from pose.data.crop import box_scale, crop_person
from pose.data.drawing import draw_skeleton
from pose.data.image_decode import decode_image
from pose.data.loader import testing_loader
from pose.data.samples import BOX_PADDING, Samples
from pose.data.zipped import MAX_BYTES
from pose.datasets import dataset_of
from pose.datasets.fields import LIMIT, PERSON, Detection, checked
from pose.evaluation.results import rescore
from pose.infer import predict_batches
from pose.training.best import FILE as BEST
from pose.training.checkpoint import NAME
from pose.training.faults import faults_in_one_line
from pose.weights import catalogue, model_of, open_published, read_published
from pose.weights.about import is_pickle, read_about
from pose.weights.file import load_weights
from pose.weights.published import meant_by, recognised

Box = Sequence[float]
"""Left, top, width, height in pixels, and the detector's score if there is one."""
PHOTOS_AT_ONCE = 16  # in memory; their people are predicted together
OURS = (
    "use the best.safetensors or weights.safetensors of a training, or what pose.weights convert"
    " writes"
)
LONGEST_SIDE = 65_500  # of a JPEG


class Crops(Dataset):
    """The crops (H, W, 3) uint8 RGB of ``samples``, whose images are in memory."""

    def __init__(
        self, photos: Sequence[np.ndarray], samples: Samples, input_size: tuple[int, int]
    ) -> None:
        self.photos, self.samples, self.input_size = photos, samples, input_size

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, index: int) -> dict[str, Any]:
        samples = self.samples
        photo = self.photos[samples.image_index[index]]
        box = samples.centers[index], samples.scales[index]
        pixels, _ = crop_person(photo, *box, self.input_size)
        return {"image": torch.from_numpy(pixels[..., ::-1].copy()), "index": index}


def load_checkpoint(checkpoint: str | Path) -> tuple[nn.Module, Experiment]:
    """The model of a file or of a published name, and how it is to be used.

    Raises PoseError for what is neither, and for a file that cannot be fetched or does not fit.
    """
    path, name = Path(checkpoint), str(checkpoint)
    if not path.exists():
        if name not in catalogue():
            meant = meant_by(name)
            raise PoseError(f"checkpoint {path}: no such file, and no published name{meant}")
        return open_published(name)
    if not path.is_file():
        raise PoseError(f"checkpoint {path} is no file; {OURS}")
    if NAME.fullmatch(path.name):
        best = path.with_name(BEST)
        raise PoseError(f"checkpoint {path} is a training's, to go on from; use {best} instead")
    if is_pickle(path) or path.suffix in (".pth", ".pt"):
        if published := recognised(path):
            return read_published(published, path)
    elif "experiment" in (about := read_about(path)):
        model = model_of(about["experiment"])
        load_weights(model, path)
        return model, about["experiment"]
    raise PoseError(
        f"checkpoint {path} does not tell its model and input, and is no file of pose.weights list:"
        f" {OURS}"
    )


def read_photo(path: Path) -> np.ndarray:
    """The photo (H, W, 3) uint8 BGR, upright; the data sets' images are not turned by EXIF."""
    try:
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise PoseError(f"image {path}: {error.strerror}") from None
    if len(data) > MAX_BYTES:
        raise PoseError(f"image {path}: more than {MAX_BYTES >> 30} GB are too many for an image")
    height, width, _ = decode_image(data, path).shape  # raises for what OpenCV would pass over
    if max(height, width) > LONGEST_SIDE:
        raise PoseError(
            f"image {path}: {width} x {height} pixels, more than the {LONGEST_SIDE} on a side that"
            " its drawing, a JPEG, may have; make it smaller"
        )
    return cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)


def read_boxes(path: Path, sizes: Mapping[str, tuple[int, int]]) -> dict[str, list[Box]]:
    """The boxes of each photo that the file names, of photos with these (height, width).

    It holds ``{"photo.jpg": [[x, y, width, height]]}``, or is a list of detections as COCO's
    detectors write it, whose ``image_id`` is the number at the end of a photo's name; those of
    other images are passed over.
    """
    content = read_json(path)
    if isinstance(content, list):
        return _detections(path, content, sizes)
    if not isinstance(content, dict):
        raise PoseError(f'{path}: not an object like {{"photo.jpg": [[x, y, width, height]]}}')
    for name, boxes in content.items():
        if name not in sizes:
            raise PoseError(
                f"{path}: {name!r} is none of the images{nearest(name, sizes)}; it is to hold"
                ' {"photo.jpg": [[x, y, width, height]]} or a list of detections'
            )
        if not isinstance(boxes, list):
            raise PoseError(f"{path}: {name}: not a list of boxes")
        for box in boxes:
            if problem := _problem(box, sizes[name]):
                raise PoseError(f"{path}: {name}: box {box}: {problem}")
    return content


def _detections(
    path: Path, content: list[Any], sizes: Mapping[str, tuple[int, int]]
) -> dict[str, list[Box]]:
    numbers: dict[int, str] = {}
    for name in sizes:
        if digits := re.search(r"\d+$", Path(name).stem):
            if (number := int(digits[0])) in numbers:
                raise PoseError(f"{path}: both {name} and {numbers[number]} are image {number}")
            numbers[number] = name
    records = [record for record in content if _is_of(record, numbers)]
    if not records:
        raise PoseError(
            f"{path}: no detection of any of the images; their names end in the image_id, or use"
            ' {"photo.jpg": [[x, y, width, height]]}'
        )
    boxes: dict[str, list[Box]] = {}
    for record in checked(path, records, Detection, numbers, persons_only=True):
        name, box = numbers[record["image_id"]], record["bbox"]
        if problem := _problem(box, sizes[name]):
            raise PoseError(f"{path}: {name}: box {box}: {problem}")
        boxes.setdefault(name, []).append((*box, record["score"]))
    return boxes


def _is_of(record: Any, numbers: Mapping[int, str]) -> bool:
    """Whether a detection is of one of the images; malformed ones are, to be told of."""
    number = record.get("image_id") if isinstance(record, dict) else None
    return type(number) is not int or number in numbers


def _problem(box: Any, size: tuple[int, int]) -> str:
    """What is wrong with ``box``, or nothing."""
    numbers = isinstance(box, list) and all(type(side) in (int, float) for side in box)
    if not numbers or len(box) != 4 or not all(abs(side) <= LIMIT for side in box):
        return "not four numbers x, y, width, height"
    x, y, width, height = box
    if width <= 0 or height <= 0:
        return "zero or negative size"
    if x >= size[1] or y >= size[0] or x + width <= 0 or y + height <= 0:
        return f"outside the image of {size[1]} x {size[0]} pixels"
    return ""


def to_samples(
    photos: Sequence[np.ndarray], boxes: Sequence[Sequence[Box]], experiment: Experiment
) -> Samples:
    """A sample per box of each photo; without boxes, the whole photo."""
    index = np.repeat(np.arange(len(photos)), [len(of_photo) for of_photo in boxes])
    scored = [(*box, 1.0)[:5] for of_photo in boxes for box in of_photo]
    box, score = np.split(np.array(scored, dtype=float).reshape(-1, 5), [4], axis=1)
    height, width = experiment.input_size
    keypoints = dataset_of(experiment.dataset).keypoints
    return Samples(
        keypoints=keypoints,
        image_paths=np.array([""] * len(photos)),
        image_index=index.astype(np.int32),
        image_ids=index,
        person_ids=np.full(len(box), -1),
        centers=(box[:, :2] + box[:, 2:] / 2).astype(np.float32),
        scales=box_scale(box[:, 2], box[:, 3], width / height, BOX_PADDING),
        joints=np.zeros((len(box), len(keypoints), 2), np.float32),
        visible=np.zeros((len(box), len(keypoints)), np.float32),
        box_scores=score[:, 0].astype(np.float32),
    )


def predict_photos(
    model: nn.Module,
    experiment: Experiment,
    photos: Mapping[str, np.ndarray],
    boxes: Mapping[str, Sequence[Box]] = MappingProxyType({}),
    device: torch.device = torch.device("cpu"),  # noqa: B008 (a constant)
) -> list[dict[str, Any]]:
    """A COCO result per person: ``image`` (its name), ``bbox``, ``keypoints`` and ``score``.

    ``photos``: name -> (H, W, 3) uint8 BGR, as :func:`read_photo` gives it. A photo that ``boxes``
    does not name is taken as a whole for one person. All people are predicted in common batches.
    """
    whole = {name: [(0, 0, *photo.shape[1::-1])] for name, photo in photos.items()}
    people = [boxes.get(name, whole[name]) for name in photos]
    samples = to_samples(list(photos.values()), people, experiment)
    crops = Crops(list(photos.values()), samples, experiment.input_size)
    model.to(device, memory_format=torch.channels_last).eval()
    loader = testing_loader(crops, experiment.test.inference_batch, 0)
    keypoints = predict_batches(model, loader, samples, experiment, device).numpy().astype(float)
    scores = rescore(keypoints[..., 2], samples.box_scores, experiment.test.rescore_threshold)
    named = [(name, box) for name, own in zip(photos, people, strict=True) for box in own]
    return [
        {
            "image": name,
            "category_id": PERSON,
            "bbox": list(box[:4]),
            "keypoints": joints.ravel().round(3).tolist(),
            "score": float(score),
        }
        for (name, box), joints, score in zip(named, keypoints, scores, strict=True)
    ]


@command
def main(argv: list[str] | None = None) -> None:
    args = command_line().parse_args(argv)

    stems = [path.stem for path in args.images]
    if twice := {stem for stem in stems if stems.count(stem) > 1}:
        raise PoseError(f"several images are called {min(twice)!r}: predict them apart")
    drawings = {path.name: args.output_dir / f"{path.stem}_pose.jpg" for path in args.images}
    predictions = args.output_dir / "predictions.json"
    outputs = {os.path.realpath(path) for path in (*drawings.values(), predictions)}
    for path in (*args.images, args.boxes or args.checkpoint, args.checkpoint):
        if os.path.realpath(path) in outputs:
            raise PoseError(f"{path} would be replaced by an output; choose another --output-dir")
    for path in drawings.values():
        with writing(path):
            args.output_dir.mkdir(parents=True, exist_ok=True)
            path.exists()  # fails for a name that is too long
    sizes = {path.name: read_photo(path).shape[:2] for path in args.images}
    boxes = read_boxes(args.boxes, sizes) if args.boxes else {}
    if whole := [name for name in sizes if name not in boxes]:
        told = ", ".join(whole[:3]) + (f" and {len(whole) - 3} more" if len(whole) > 3 else "")
        print(f"{told}: without boxes, the whole photo is taken for one person", file=sys.stderr)
    model, experiment = load_checkpoint(args.checkpoint)
    device = select_device(args.device)
    keypoints = dataset_of(experiment.dataset).keypoints
    results = []
    for start in range(0, len(args.images), PHOTOS_AT_ONCE):
        paths = args.images[start : start + PHOTOS_AT_ONCE]
        photos = {path.name: read_photo(path) for path in paths}
        with faults_in_one_line("use --device cpu"):
            found = predict_photos(model, experiment, photos, boxes, device)
        for result in found:
            joints = np.reshape(result["keypoints"], (-1, 3))
            draw_skeleton(photos[result["image"]], joints, keypoints)
        for name, photo in photos.items():
            write_file(drawings[name], cv2.imencode(".jpg", photo)[1].tobytes())
        results += found
    lines = "[\n" + ",\n".join(map(json.dumps, results)) + "\n]\n"
    write_file(predictions, lines)
    print(f"{len(results)} people on {len(sizes)} images: {predictions}")


if __name__ == "__main__":
    main()
