"""Find the joints of people on one's own photos: ``python -m pose.predict``.

Writes each photo with the skeletons drawn on it, NAME_pose.jpg, and predictions.json, a list of
COCO results that name their image. The checkpoint is a file that pose.train or
``pose.weights convert`` wrote, or a name of ``pose.weights list``.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

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
from pose.datasets.fields import LIMIT, PERSON
from pose.evaluation.results import rescore
from pose.infer import predict_batches
from pose.models import create_model
from pose.support import cli
from pose.support.device import device_name, select_device
from pose.support.errors import PoseError, command, nearest
from pose.support.files import read_json, write_file, writing
from pose.weights import catalogue, fetch, load_published, read_state_dict
from pose.weights.about import read_about
from pose.weights.file import load_weights

Box = tuple[float, float, float, float]
"""Left, top, width, height in pixels."""
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


def load_checkpoint(checkpoint: str) -> tuple[nn.Module, Experiment]:
    """The model of a file or of a published name, and how it is to be used."""
    path = Path(checkpoint)
    if not path.exists() and checkpoint in catalogue() and catalogue()[checkpoint].input:
        experiment = catalogue()[checkpoint].experiment()
        model = _model(experiment)
        load_published(model, read_state_dict(fetch(checkpoint)))
        return model, experiment
    experiment = _experiment_of(path)
    model = _model(experiment)
    load_weights(model, path)
    return model, experiment


def _model(experiment: Experiment) -> nn.Module:
    joints = len(dataset_of(experiment.dataset).keypoints)
    return create_model(experiment.model, joints, **experiment.model_options.architecture())


def _experiment_of(path: Path) -> Experiment:
    """The experiment that a checkpoint names."""
    if not path.exists():
        if str(path) in catalogue():
            raise PoseError(f"{path} holds a backbone only; choose the weights of a whole model")
        hint = nearest(str(path), catalogue())
        raise PoseError(f"checkpoint {path}: no such file, and no published name{hint}")
    if path.is_file() and not _is_pickle(path):
        about = read_about(path)
        if "experiment" in about:
            return about["experiment"]
    raise PoseError(
        f"checkpoint {path} does not tell its model and input: use the best.safetensors or"
        " weights.safetensors of a training, or what pose.weights convert writes"
    )


def _is_pickle(path: Path) -> bool:
    """Whether the file is of torch.save, as trainings' own checkpoints and published ones are."""
    with path.open("rb") as file:
        return file.read(2) in (b"PK", b"\x80\x02")


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


def read_boxes(path: Path, photos: dict[str, np.ndarray]) -> dict[str, list[Box]]:
    """The boxes of each photo that the file names: ``{"photo.jpg": [[x, y, width, height]]}``."""
    content = read_json(path)
    if not isinstance(content, dict):
        raise PoseError(f'{path}: not an object like {{"photo.jpg": [[x, y, width, height]]}}')
    for name, boxes in content.items():
        if name not in photos:
            raise PoseError(f"{path}: {name!r} is none of the images{nearest(name, photos)}")
        if not isinstance(boxes, list):
            raise PoseError(f"{path}: {name}: not a list of boxes")
        for box in boxes:
            if problem := _problem(box, photos[name]):
                raise PoseError(f"{path}: {name}: box {box}: {problem}")
    return content


def _problem(box: Any, photo: np.ndarray) -> str:
    """What is wrong with ``box``, or nothing."""
    numbers = isinstance(box, list) and all(type(side) in (int, float) for side in box)
    if not numbers or len(box) != 4 or not all(abs(side) <= LIMIT for side in box):
        return "not four numbers x, y, width, height"
    x, y, width, height = box
    if width <= 0 or height <= 0:
        return "zero or negative size"
    if x >= photo.shape[1] or y >= photo.shape[0] or x + width <= 0 or y + height <= 0:
        return f"outside the image of {photo.shape[1]} x {photo.shape[0]} pixels"
    return ""


def to_samples(
    photos: Sequence[np.ndarray], boxes: Sequence[Sequence[Box]], experiment: Experiment
) -> Samples:
    """A sample per box of each photo; without boxes, the whole photo."""
    index = np.repeat(np.arange(len(photos)), [len(of_photo) for of_photo in boxes])
    box = np.array([box for of_photo in boxes for box in of_photo], dtype=float).reshape(-1, 4)
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
        box_scores=np.ones(len(box), np.float32),
    )


def predict_photos(
    model: nn.Module,
    experiment: Experiment,
    photos: dict[str, np.ndarray],
    boxes: dict[str, list[Box]],
    device: torch.device,
) -> list[dict[str, Any]]:
    """A COCO result per person: ``image`` (its name), ``bbox``, ``keypoints`` and ``score``.

    A photo that ``boxes`` does not name is taken as a whole.
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
            "bbox": list(box),
            "keypoints": joints.ravel().round(3).tolist(),
            "score": float(score),
        }
        for (name, box), joints, score in zip(named, keypoints, scores, strict=True)
    ]


@command
def main(argv: list[str] | None = None) -> None:
    parser = cli.parser("pose.predict", __doc__)
    parser.add_argument("images", nargs="+", type=Path, metavar="IMAGE")
    parser.add_argument("--checkpoint", required=True, help="a file or a published name")
    parser.add_argument(
        "--boxes",
        type=Path,
        metavar="B.json",
        help='people: {"photo.jpg": [[x, y, width, height], ...]}; default: the whole image',
    )
    parser.add_argument("--output-dir", type=cli.output_folder, default=Path("predictions"))
    parser.add_argument("--device", type=device_name, default="auto")
    args = parser.parse_args(argv)

    if twice := {path.stem for path in args.images if _stems(args.images).count(path.stem) > 1}:
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
    photos = {path.name: read_photo(path) for path in args.images}
    boxes = read_boxes(args.boxes, photos) if args.boxes else {}
    model, experiment = load_checkpoint(args.checkpoint)
    device = select_device(args.device)
    results = predict_photos(model, experiment, photos, boxes, device)
    keypoints = dataset_of(experiment.dataset).keypoints
    for name, photo in photos.items():
        for result in results:
            if result["image"] == name:
                draw_skeleton(photo, np.reshape(result["keypoints"], (-1, 3)), keypoints)
        write_file(drawings[name], cv2.imencode(".jpg", photo)[1].tobytes())
    lines = "[\n" + ",\n".join(map(json.dumps, results)) + "\n]\n"
    write_file(predictions, lines)
    print(f"{len(results)} people on {len(photos)} images: {predictions}")


def _stems(paths: Sequence[Path]) -> list[str]:
    return [path.stem for path in paths]


if __name__ == "__main__":
    main()
