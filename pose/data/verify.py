"""Count and decode a data set: ``python -m pose.data.verify coco --root data/coco``.

Lists what is missing, damaged, or of another size than annotated, and whether the numbers are
those of the published sets. Exits with status 1 when something is wrong.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from pose.data.images import check_size, read_image
from pose.data.obtain.mpii_release import read_mat
from pose.data.obtain.sources import DETECTED, Source, sources
from pose.data.samples import Samples, open_split
from pose.datasets import layout
from pose.datasets.records import read_images
from pose.support import cli
from pose.support.errors import PoseError, command
from pose.support.progress import progress_bar

PERSONS = {
    ("coco", "train"): (118_287, 149_813),
    ("coco", "val"): (5_000, 6_352),
    ("mpii", "train"): (None, 22_246),
    ("mpii", "val"): (None, 2_958),
}
"""Images and persons of the whole sets; MPII's files list persons only."""
SHOWN = 20  # problems that are printed
ANY_SIZE = (256, 192)


def verify(dataset: str, root: Path, workers: int) -> dict[str, Any]:
    """What is there and what is wrong with it: ``problems`` is a list of lines, empty if nothing.

    A set with fewer persons than the published one, such as a sample of it, is noted as
    ``"complete": false`` and is no problem.
    """
    report: dict[str, Any] = {"dataset": dataset, "root": str(root), "splits": {}, "problems": []}
    for split in ("train", "val"):
        try:
            samples = open_split(dataset, root, split, ANY_SIZE)
        except PoseError as error:
            report["problems"].append(str(error))
            continue
        report["splits"][split] = _split(dataset, split, samples, workers, report["problems"])
    if dataset == "mpii":
        _ground_truth(root, report)
    else:
        _test_images(root, workers, report)
        report["detections"] = {}
        for source in sources():
            if source.kind == "by_hand" and (root / source.path).exists():
                _detections(root, source, report)
    report["problems"] = list(dict.fromkeys(report["problems"]))
    report["ok"] = not report["problems"]
    return report


def _split(
    dataset: str, split: str, samples: Samples, workers: int, problems: list[str]
) -> dict[str, Any]:
    name, sizes = f"{dataset} {split}", samples.image_sizes
    faults = list(_decode_all(name, samples.image_paths, sizes, workers))
    problems += faults
    images, persons = PERSONS[dataset, split]
    found = len(samples.image_paths), len(samples)
    whole = images is not None and found[0] == images
    if whole and found[1] != persons:
        problems.append(f"{name}: {found[1]} persons, not {persons}")
    return {
        "images": found[0],
        "images_damaged": len(faults),
        "persons": found[1],
        "persons_published": persons,
        "complete": found[1] == persons,
        "skipped": dict(samples.skipped),
    }


def _test_images(root: Path, workers: int, report: dict[str, Any]) -> None:
    """COCO's test-dev images, if its list is there."""
    path = layout.annotations("coco", root, "test-dev")
    if not path.exists():
        return
    try:
        images, folder = read_images(path), layout.images("coco", root, "test-dev")
    except PoseError as error:
        report["problems"].append(str(error))
        return
    paths = [folder / name for name in images["name"]]
    faults = list(_decode_all("coco test-dev", paths, images["size"], workers))
    report["problems"] += faults
    report["test-dev"] = {"images": len(paths), "images_damaged": len(faults)}


def _decode_all(
    name: str, paths: Sequence[str | Path], sizes: np.ndarray | None, workers: int
) -> Iterator[str]:
    """One line for each image that is missing, cannot be decoded or has another size."""

    def fault(row: int) -> str | None:
        try:
            image = read_image(paths[row])
            if sizes is not None:
                check_size(image, sizes[row], paths[row])
        except PoseError as error:
            return str(error)
        return None

    rows = range(len(paths))
    with ThreadPoolExecutor(workers or 1) as pool, progress_bar(name, len(rows)) as advance:
        for problem in pool.map(fault, rows):
            advance(1)
            if problem:
                yield problem


def _ground_truth(root: Path, report: dict[str, Any]) -> None:
    """Whether MPII's val persons are those that they will be scored against, in the same order."""
    path, problems = layout.ground_truth("mpii", root), report["problems"]
    try:
        truth = np.atleast_3d(read_mat(path, "pos_gt_src")).transpose(2, 0, 1)
        samples = open_split("mpii", root, "val", ANY_SIZE)
    except PoseError as error:
        problems.append(str(error))
        return
    if len(truth) != len(samples):
        problems.append(f"{path}: {len(truth)} persons, but valid.json has {len(samples)}")
        return
    differ = np.abs(truth - (samples.joints + 1)) > 0.5
    differ = (differ.any(axis=2) & (samples.visible > 0)).sum(axis=1)
    report["ground_truth"] = {"persons": len(truth), "persons_that_differ": int((differ > 0).sum())}
    if strangers := int((differ > samples.visible.sum(axis=1) / 2).sum()):
        problems.append(f"{path}: {strangers} persons are others than in valid.json")


def _detections(root: Path, source: Source, report: dict[str, Any]) -> None:
    path, (split,) = root / source.path, source.contents
    try:
        samples = open_split("coco", root, split, ANY_SIZE, path)
    except PoseError as error:
        report["problems"].append(str(error))
        return
    boxes = len(samples) + sum(samples.skipped.values())
    if boxes != DETECTED.get(split, boxes):
        report["problems"].append(f"{path}: {boxes} boxes, not {DETECTED[split]}")
    report["detections"][split] = {
        "checksum": source.mismatch(path) or "as known",
        "boxes": boxes,
        "images": len(np.unique(samples.image_ids)),
        "skipped": dict(samples.skipped),
    }


def show(report: dict[str, Any]) -> None:
    """Print the report for people."""
    for split, found in report["splits"].items():
        whole = "complete" if found["complete"] else f"of {found['persons_published']}"
        damaged = f", {found['images_damaged']} damaged or missing" * bool(found["images_damaged"])
        print(f"{split}: {found['images']} images{damaged}, {found['persons']} persons ({whole})")
    if found := report.get("test-dev"):
        print(f"test-dev: {found['images']} images, {found['images_damaged']} damaged or missing")
    for split, found in report.get("detections", {}).items():
        print(f"detections {split}: {found['boxes']} boxes on {found['images']} images")
    if truth := report.get("ground_truth"):
        print(
            f"ground truth: {truth['persons']} persons, {truth['persons_that_differ']} of them"
            " with a joint elsewhere than in valid.json"
        )
    for problem in report["problems"][:SHOWN]:
        print(f"wrong: {problem}")
    if (more := len(report["problems"]) - SHOWN) > 0:
        print(f"wrong: {more} more (--json lists all)")


@command
def main(argv: list[str] | None = None) -> None:
    parser = cli.parser("pose.data.verify", __doc__)
    parser.add_argument("dataset", choices=["coco", "mpii"])
    parser.add_argument("--root", type=Path, help="folder; default: data/DATASET")
    parser.add_argument(
        "--workers", type=cli.WORKERS, default=os.cpu_count(), help="decoding threads"
    )
    parser.add_argument("--json", action="store_true", help="print the whole report as JSON")
    args = parser.parse_args(argv)

    report = verify(args.dataset, args.root or Path("data", args.dataset), args.workers)
    if args.json:
        print(json.dumps(report, indent=2))
    else:
        show(report)
    sys.exit(not report["ok"])


if __name__ == "__main__":
    main()
