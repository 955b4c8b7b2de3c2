"""An embedded data set of rendered people in COCO's keypoint layout.

    DIR/rendered.json    which of these files are ours, and what they were made from
    DIR/annotations/person_keypoints_{train,val}2017.json
    DIR/{train,val}2017/*.jpg
    DIR/person_detections_val2017.json

Left limbs are warm and right limbs cool in every picture, but not in a mirrored one, where the
joints swap their names and the paint stays. Who trains with flips has to learn left from right as
in photographs, from what is seen of front and back: faces and hair, light shirts and backpacks.

The same settings give the same bytes. Each image has a random stream of its own, so that more
images leave the earlier ones as they were.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from pose.data.synthetic.canvas import Canvas, Capsule, RoundedPolygon, Texture, hsv
from pose.data.synthetic.figure_drawing import LABELS_PER_PERSON, Figure, sample_figure
from pose.data.synthetic.rendered import (
    DETECTIONS,
    MANIFEST,
    SyntheticSettings,
    content_hash,
    own_files,
    rendering,
)
from pose.datasets.coco import COCO
from pose.support.errors import PoseError
from pose.support.files import atomic

SPLITS = ("train", "val")
SCRATCH = ".rendering"
CROWD_PROBABILITY = 0.15
UNLABELLED_PROBABILITY = 0.06
SMALLEST_AREA = 150  # visible pixels below which a person is left unannotated
JPEG_QUALITY = 90


@dataclass(frozen=True)
class Scene:
    """A rendered image uint8 (H, W, 3) RGB and its annotations, in COCO's terms but for ids."""

    image: np.ndarray
    annotations: list[dict[str, Any]]


def render(settings: SyntheticSettings, split: str, index: int) -> Scene:
    """Draw one image of a split: background, then persons and occluders from far to near."""
    rng = np.random.default_rng([settings.seed, SPLITS.index(split), index])
    size = settings.image_size if rng.random() < 2 / 3 else settings.image_size[::-1]
    canvas = Canvas(_background(rng, size))
    vividness = 0.15 + 0.5 * settings.color_jitter
    for _ in range(settings.clutter):
        _paint_thing(rng, canvas, rng.uniform(0, size[::-1]), 0.25 * min(size), vividness)

    crowd_drawn = rng.random() < CROWD_PROBABILITY
    if crowd_drawn:
        _draw_crowd(rng, canvas, settings)
    figures = _place_persons(rng, size, settings)
    for person, figure in enumerate(figures, start=2):  # 1 is the crowd
        figure.draw(canvas, person)
        if rng.random() < settings.occluders:
            x_and_y = figure.keypoints[rng.integers(len(COCO)), :2]
            _paint_thing(rng, canvas, x_and_y, 0.22 * figure.scale, vividness)

    owners = canvas.labels // LABELS_PER_PERSON
    annotations = []
    if crowd_drawn and (owners == 1).any():
        annotations.append(_crowd_annotation(owners == 1))
    for person, figure in enumerate(figures, start=2):
        unlabelled = rng.random() < UNLABELLED_PROBABILITY
        mask = owners == person
        if mask.sum() >= SMALLEST_AREA:
            flags = figure.visibility(canvas, person) * (not unlabelled)
            annotations.append(_person_annotation(mask, figure, flags))
    grain = rng.standard_normal((*size, 1), np.float32) * 0.015
    image = (canvas.image * rng.uniform(0.85, 1.1) + grain).clip(0, 1) * 255
    return Scene(np.rint(image).astype(np.uint8), annotations)


def _background(rng: np.random.Generator, size: tuple[int, int]) -> np.ndarray:
    height, width = size
    top, bottom = (
        hsv(rng.uniform(0, 360), rng.uniform(0, 0.3), rng.uniform(0.3, 0.9)) for _ in "ab"
    )
    slope = np.linspace(0, 1, height)[:, None, None]
    image = np.broadcast_to(top + slope * (bottom - top), (height, width, 3))
    blotches = rng.normal(0, 0.06, (9, 12, 1)) + rng.normal(0, 0.025, (9, 12, 3))
    blotches = blotches.astype(np.float32)
    blotches = cv2.resize(blotches, (width, height), interpolation=cv2.INTER_CUBIC)
    return (image + blotches).clip(0, 1).astype(np.float32)


def _paint_thing(
    rng: np.random.Generator, canvas: Canvas, center: np.ndarray, size: float, vividness: float
) -> None:
    """A pole, disc or board, plain or striped, about ``size`` pixels in half length."""
    colour = hsv(rng.uniform(0, 360), rng.uniform(0, vividness), rng.uniform(0.15, 0.95))
    striped = rng.random() < 0.4
    texture = Texture(colour, colour * 0.6 if striped else None, rng.uniform(4, 14))
    angle = rng.uniform(0, np.pi)
    axis = np.array([np.cos(angle), np.sin(angle)]) * size * rng.uniform(0.5, 1.2)
    kind = rng.integers(3)
    if kind == 0:
        shape = Capsule(center - axis, center + axis, *rng.uniform(0.08, 0.3, 2) * size)
    elif kind == 1:
        shape = Capsule(center, center, *[rng.uniform(0.3, 0.8) * size] * 2)
    else:
        across = np.array([-axis[1], axis[0]]) * rng.uniform(0.3, 1)
        corners = [center - axis - across, center + axis - across]
        corners += [center + axis + across, center - axis + across]
        shape = RoundedPolygon(np.stack(corners), 2.0)
    canvas.paint(shape, texture)


def _place_persons(
    rng: np.random.Generator, size: tuple[int, int], settings: SyntheticSettings
) -> list[Figure]:
    """Persons spread over the width with some overlap, the smallest (farthest) first."""
    height, width = size
    count = rng.integers(1, settings.max_persons + 1)
    slots = (rng.permutation(count) + rng.uniform(0.2, 0.8, count)) / count
    figures = []
    statures = np.sort(rng.uniform(0.32, 0.85, count)) * min(size)
    for slot, stature in zip(slots, statures, strict=True):
        figure = sample_figure(rng, settings.pose_spread, settings.color_jitter)
        margin = 0.2 * stature  # a person may be cut by the image's sides, not by much
        x = margin + slot * (width - 2 * margin)
        room = 0.5 * (height - stature)
        y = 0.5 * height + rng.uniform(-room, room)
        figures.append(figure.placed(stature, (x, y)))
    return figures


def _draw_crowd(rng: np.random.Generator, canvas: Canvas, settings: SyntheticSettings) -> None:
    """A row of small people, all of them person 1."""
    height, width = canvas.labels.shape
    stature, x = rng.uniform(0.15, 0.22) * height, rng.uniform(0.1, 0.5) * width
    y = rng.uniform(0.15, 0.4) * height
    for _ in range(rng.integers(4, 8)):
        figure = sample_figure(rng, settings.pose_spread, settings.color_jitter)
        figure.placed(stature, (x, y + rng.normal(0, 0.05 * stature))).draw(canvas, person=1)
        x += stature * rng.uniform(0.25, 0.45)


def _box(mask: np.ndarray) -> list[int]:
    """The box [x, y, width, height] around a mask (H, W)."""
    columns, rows = np.flatnonzero(mask.any(0)), np.flatnonzero(mask.any(1))
    x, y = columns[0], rows[0]
    return [int(value) for value in (x, y, columns[-1] - x + 1, rows[-1] - y + 1)]


def _person_annotation(mask: np.ndarray, figure: Figure, flags: np.ndarray) -> dict[str, Any]:
    keypoints = np.column_stack([np.rint(figure.keypoints[:, :2]), flags]).astype(int)
    keypoints[flags == 0] = 0
    outlines, _ = cv2.findContours(
        mask.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE
    )
    return {
        "segmentation": [line.ravel().tolist() for line in outlines if len(line) >= 3],
        "num_keypoints": int((flags > 0).sum()),
        "area": int(mask.sum()),
        "iscrowd": 0,
        "keypoints": keypoints.ravel().tolist(),
        "bbox": _box(mask),
    }


def _crowd_annotation(mask: np.ndarray) -> dict[str, Any]:
    """A crowd has one uncompressed RLE: runs down the columns, the first of them empty."""
    column_major = np.concatenate([[0], mask.ravel(order="F"), [1 - mask[-1, -1]]])
    ends = np.flatnonzero(np.diff(column_major))
    return {
        "segmentation": {"counts": np.diff(ends, prepend=0).tolist(), "size": [*mask.shape]},
        "num_keypoints": 0,
        "area": int(mask.sum()),
        "iscrowd": 1,
        "keypoints": [0] * 3 * len(COCO),
        "bbox": _box(mask),
    }


def _write_split(folder: Path, settings: SyntheticSettings, split: str) -> dict[str, Any]:
    """Write the images and the annotation file of a split; returns the annotations."""
    pictures = folder / f"{split}2017"
    pictures.mkdir()
    first_id = 1 + 500_000 * SPLITS.index(split)
    images, annotations = [], []
    for index in range(getattr(settings, f"{split}_images")):
        scene, image_id = render(settings, split, index), first_id + index
        height, width, _ = scene.image.shape
        name = f"{image_id:012d}.jpg"
        options = [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY]
        _, jpeg = cv2.imencode(".jpg", scene.image[..., ::-1], options)
        (pictures / name).write_bytes(jpeg.tobytes())
        images.append(
            {"id": image_id, "file_name": name, "height": height, "width": width, "license": 1}
        )
        for annotation in scene.annotations:
            ids = {"id": first_id + len(annotations), "image_id": image_id, "category_id": 1}
            annotations.append(annotation | ids)
    category = {
        "supercategory": "person",
        "id": 1,
        "name": "person",
        "keypoints": list(COCO.names),
        "skeleton": [[a + 1, b + 1] for a, b in COCO.skeleton],
    }
    content = {
        "info": {"description": "Synthetic people", "version": "1", "year": 2017},
        "licenses": [{"id": 1, "name": "generated; no rights reserved", "url": ""}],
        "images": images,
        "annotations": annotations,
        "categories": [category],
    }
    _write_json(folder / "annotations" / f"person_keypoints_{split}2017.json", content)
    return content


def _detections(content: dict[str, Any], seed: int) -> Iterator[dict[str, Any]]:
    """What a person detector might answer: jittered boxes, a few misses and false alarms."""
    rng = np.random.default_rng([seed, len(SPLITS)])

    def detection(image: dict[str, Any], x_y_w_h: np.ndarray, score: float) -> dict[str, Any]:
        low = np.clip(x_y_w_h[:2], 0, None)
        high = np.minimum(x_y_w_h[:2] + x_y_w_h[2:], (image["width"], image["height"]))
        box = np.round([*low, *(high - low)], 2).tolist()
        return {
            "image_id": image["id"], "category_id": 1, "bbox": box, "score": round(score, 4)
        }  # fmt: skip

    for image in content["images"]:
        size = np.array([image["width"], image["height"]])
        for annotation in content["annotations"]:
            missed = rng.random() < 0.06
            if annotation["image_id"] != image["id"] or annotation["iscrowd"] or missed:
                continue
            box = np.array(annotation["bbox"], float)
            box += rng.normal(0, 0.04, 4) * np.tile(box[2:], 2)
            yield detection(image, box, 1 - 0.6 * rng.beta(1, 5))
        for _ in range(rng.poisson(0.3)):
            extent = size * rng.uniform(0.15, 0.6, 2)
            corner = rng.uniform(0, size - extent)
            yield detection(image, np.concatenate([corner, extent]), 0.05 + 0.5 * rng.beta(1, 2))


def _write_json(path: Path, content: Any) -> None:
    path.write_text(json.dumps(content))


def write_dataset(folder: Path, settings: SyntheticSettings) -> str:
    """Write the data set to ``folder``, replacing an earlier one; returns a summary.

    All is rendered before the first earlier file is replaced. Files of others, and changed ones,
    stay; PoseError if there are any and no earlier data set, or if one is where ours has to be.
    """
    own_files(folder)
    folder.mkdir(parents=True, exist_ok=True)
    earlier = own_files(folder)  # again: of new/../old, old is found only once new is there
    if not earlier:
        _write_manifest(folder, {})  # from now on the folder is ours
    scratch = folder / SCRATCH
    try:
        shutil.rmtree(scratch, ignore_errors=True)  # of a rendering that was killed
        scratch.mkdir()
        (scratch / "annotations").mkdir()
        counts = []
        for split in SPLITS:
            content = _write_split(scratch, settings, split)
            images, persons = len(content["images"]), len(content["annotations"])
            counts.append(f"{images} {split} images ({persons} annotations)")
        detections = list(_detections(content, settings.seed))
        _write_json(scratch / DETECTIONS, detections)
        _replace(folder, scratch, earlier, rendering(settings))
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    return f"{folder}: {', '.join(counts)}, {len(detections)} detections"


def _replace(folder: Path, scratch: Path, earlier: dict[str, list[str]], made_from: str) -> None:
    """Move the files below ``scratch`` into ``folder``, in place of the ``earlier`` ones."""
    paths = sorted(path for path in scratch.rglob("*") if path.is_file())
    new = {path.relative_to(scratch).as_posix(): [content_hash(path)] for path in paths}
    both = {name: earlier.get(name, []) + new.get(name, []) for name in {**earlier, **new}}
    for name, contents in both.items():
        _require_ours(folder / name, contents)
    _write_manifest(folder, both)
    for name in new:
        (folder / name).parent.mkdir(exist_ok=True)
        os.replace(scratch / name, folder / name)
    for name in earlier.keys() - new.keys():
        (folder / name).unlink(missing_ok=True)
    _write_manifest(folder, new, made_from)


def _require_ours(path: Path, contents: list[str]) -> None:
    """PoseError for a file that is there, but has none of the contents that we wrote."""
    linked = path.is_symlink() or path.parent.is_symlink()
    if linked or (path.exists() and content_hash(path) not in contents):
        raise PoseError(
            f"{path} is not ours, or was changed; move it away, or choose another folder"
        )


def _write_manifest(
    folder: Path, files: dict[str, list[str]], made_from: str = "unfinished"
) -> None:
    with atomic(folder / MANIFEST) as path:
        _write_json(path, {"rendering": made_from, "files": files})
