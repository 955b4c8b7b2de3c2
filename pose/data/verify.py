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

import numpy as np

from pose.data.image_decode import decode_image, orientation
from pose.data.images import check_size, image_paths, read_bytes
from pose.data.obtain.sources import DETECTED, Source, sources
from pose.data.samples import Samples, open_split
from pose.datasets import layout
from pose.datasets.records import read_images
from pose.evaluation.coco import Truth
from pose.evaluation.pckh import differing_persons, read_ground_truth
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
        if "val" in report["splits"]:
            _scored_persons(root, report)
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
    name, sizes, folders = f"{dataset} {split}", samples.image_sizes, samples.image_folders
    faults, turned = _decode_all(name, samples.image_paths, sizes, folders, workers)
    problems += faults
    images, persons = PERSONS[dataset, split]
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


def _scored_persons(root: Path, report: dict[str, Any]) -> None:
    """Whether COCO's val persons can be scored against, which asks more than training does."""
    try:
        Truth.read(layout.ground_truth("coco", root))
    except PoseError as error:
        report["problems"].append(str(error))


def _test_images(root: Path, workers: int, report: dict[str, Any]) -> None:
    """COCO's test-dev images, if its list is there."""
    path = layout.annotations("coco", root, "test-dev")
    if not path.exists():
        return
    try:
        images, folder = read_images(path), layout.images("coco", root, "test-dev")
        paths = image_paths(path, folder, images["name"].tolist())
    except PoseError as error:
        report["problems"].append(str(error))
        return
    folders = [os.path.realpath(folder), os.path.realpath(root)]
    faults, turned = _decode_all("coco test-dev", paths, images["size"], folders, workers)
    report["problems"] += faults
    report["test-dev"] = {
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


def _ground_truth(root: Path, report: dict[str, Any]) -> None:
    """Whether MPII's val persons are those that they will be scored against, in the same order."""
    path = layout.ground_truth("mpii", root)
    try:
        truth, samples = read_ground_truth(path), open_split("mpii", root, "val", ANY_SIZE)
        differ = differing_persons(path, truth, samples.joints, samples.visible)
    except PoseError as error:
        report["problems"].append(str(error))
        return
    report["ground_truth"] = {"persons": len(samples), "persons_that_differ": differ}


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
        whole = "complete" if found["complete"] else f"of {found['persons_published']}"
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
