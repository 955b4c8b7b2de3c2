"""Count and decode a data set: ``python -m pose.data.verify coco --root data/coco``.

Lists what is missing, damaged, or of another size than annotated, and whether the numbers are
those of the published sets. Exits with status 1 when something is wrong.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from pose.config.datasets import DATASETS
from pose.support import cli
from pose.support.errors import PoseError, command
from pose.support.progress import progress_bar


def command_line() -> cli.Parser:
    """The options."""
    parser = cli.parser("pose.data.verify", __doc__)
    parser.add_argument("dataset", choices=DATASETS)
    parser.add_argument("--root", type=Path, help="folder; default: data/DATASET")
    parser.add_argument(
        "--workers", type=cli.WORKERS, default=os.cpu_count(), help="decoding threads"
    )
    parser.add_argument("--json", action="store_true", help="print the whole report as JSON")
    return parser


cli.answer_early(__name__, command_line)

import numpy as np

from pose.data.image_decode import decode_image, orientation
from pose.data.images import check_size, image_paths, read_bytes
from pose.data.obtain.sources import DETECTED, Source, sources
from pose.data.samples import Samples, open_split
from pose.datasets import dataset_of
from pose.datasets.mpii import differing_persons

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
    _ground_truth(dataset, root, report)
    report["detections"] = {}
    for split in sorted(dataset_of(dataset).annotation_files.keys() - {"train", "val"}):
        _test_images(dataset, root, split, workers, report)
    for source in sources():
        by_hand = source.dataset == dataset and source.kind == "by_hand"
        if by_hand and (root / source.path).exists():
            _detections(root, source, report)
    report["problems"] = list(dict.fromkeys(report["problems"]))
    report["ok"] = not report["problems"]
    return report


def _split(
    dataset: str, split: str, samples: Samples, workers: int, problems: list[str]
) -> dict[str, Any]:
    name, sizes, folders = f"{dataset} {split}", samples.image_sizes, samples.image_folders
    faults, turned = _decode_all(name, samples.image_paths, sizes, folders, workers)
    problems += faults
    images, persons = dataset_of(dataset).sizes.get(split, (None, None))
    found = len(samples.image_paths), len(samples)
    whole = images is not None and found[0] == images
    if whole and found[1] != persons:
        problems.append(f"{name}: {found[1]} persons, not {persons}")
    return {
        "images": found[0],
        "images_damaged": len(faults),
        "images_turned_by_exif": turned,
        "persons": found[1],
        "persons_published": persons,
        "complete": found[1] == persons,
        "skipped": dict(samples.skipped),
    }


def _test_images(
    dataset: str, root: Path, split: str, workers: int, report: dict[str, Any]
) -> None:
    """The images of a split without annotated persons, if its list is there."""
    chosen = dataset_of(dataset)
    path = chosen.annotations(root, split)
    if not path.exists():
        return
    try:
        images, folder = chosen.read_images(path), chosen.images(root, split)
        paths = image_paths(path, folder, images["name"].tolist())
    except PoseError as error:
        report["problems"].append(str(error))
        return
    folders = [os.path.realpath(folder), os.path.realpath(root)]
    name = f"{dataset} {split}"
    faults, turned = _decode_all(name, paths, images["size"], folders, workers)
    report["problems"] += faults
    report[split] = {
        "images": len(paths),
        "images_damaged": len(faults),
        "images_turned_by_exif": turned,
    }


def _decode_all(
    name: str,
    paths: Sequence[str],
    sizes: np.ndarray | None,
    folders: Sequence[str],
    workers: int,
) -> tuple[list[str], int]:
    """A line for each image that cannot be used, and how many EXIF would turn or mirror."""

    def check(row: int) -> tuple[str, bool]:
        turned = False
        try:
            data = read_bytes(paths[row], folders)
            turned = orientation(data) != 1
            image = decode_image(data, paths[row])
            if sizes is not None:
                check_size(image, sizes[row], paths[row])
        except PoseError as error:
            return str(error), turned
        return "", turned

    faults, all_turned = [], 0
    with ThreadPoolExecutor(workers or 1) as pool, progress_bar(name, len(paths)) as advance:
        for problem, turned in pool.map(check, range(len(paths))):
            advance(1)
            all_turned += turned
            if problem:
                faults.append(problem)
    return faults, all_turned


def _ground_truth(dataset: str, root: Path, report: dict[str, Any]) -> None:
    """Whether val can be scored, which asks more than training does.

    Where the ground truth is a file of its own, it must be of the same persons, in their order.
    """
    chosen = dataset_of(dataset)
    path, annotations = chosen.ground_truth(root), chosen.annotations(root, "val")
    if path == annotations and "val" not in report["splits"]:
        return  # what is wrong with the file has been said
    try:
        truth = chosen.read_truth(path)
        if path == annotations:
            return
        samples = open_split(dataset, root, "val", ANY_SIZE)
        differ = differing_persons(path, truth, samples.joints, samples.visible)
    except PoseError as error:
        report["problems"].append(str(error))
        return
    report["ground_truth"] = {"persons": len(samples), "persons_that_differ": differ}


def _detections(root: Path, source: Source, report: dict[str, Any]) -> None:
    path, (split,) = root / source.path, source.contents
    try:
        samples = open_split(source.dataset, root, split, ANY_SIZE, path)
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


def _counts(found: dict[str, Any]) -> str:
    counts = f"{found['images']} images"
    if damaged := found["images_damaged"]:
        counts += f", {damaged} damaged or missing"
    if turned := found["images_turned_by_exif"]:
        counts += f", {turned} with an EXIF orientation (not followed)"
    return counts


def show(report: dict[str, Any]) -> None:
    """Print the report for people."""
    for split, found in report["splits"].items():
        published = found["persons_published"]
        whole = "complete" if found["complete"] else f"of {published or 'an unknown number'}"
        print(f"{split}: {_counts(found)}, {found['persons']} persons ({whole})")
    if found := report.get("test-dev"):
        print(f"test-dev: {_counts(found)}")
    for split, found in report.get("detections", {}).items():
        print(f"detections {split}: {found['boxes']} boxes on {found['images']} images")
    if truth := report.get("ground_truth"):
        print(
            f"ground truth: {truth['persons']} persons, {truth['persons_that_differ']} of them"
            " with a joint elsewhere than in valid.json"
        )
    for problem in report["problems"][:SHOWN]:
        print("wrong:", problem.encode(errors="backslashreplace").decode())  # names may be odd
    if (more := len(report["problems"]) - SHOWN) > 0:
        print(f"wrong: {more} more (--json lists all)")


@command
def main(argv: list[str] | None = None) -> None:
    args = command_line().parse_args(argv)

    report = verify(args.dataset, args.root or Path("data", args.dataset), args.workers)
    if args.json:
        print(json.dumps(report, indent=2))
    else:
        show(report)
    sys.exit(not report["ok"])


if __name__ == "__main__":
    main()
