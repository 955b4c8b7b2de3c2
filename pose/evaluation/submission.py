"""The archive that COCO's server takes for test-dev: ``python -m pose.evaluation.submission``.

https://cocodataset.org/#upload: ``person_keypoints_test-dev2017_NAME_results.json`` and its zip.
The persons are rescored and suppressed as for val, and an image's best 20 stay, because the
server counts no more.
"""

from __future__ import annotations

import json
import re
import zipfile
from itertools import groupby
from pathlib import Path
from typing import Any

from pose.evaluation.options import add_suppression
from pose.support import cli
from pose.support.errors import PoseError, command, nearest
from pose.support.files import atomic, read_json


def command_line() -> cli.Parser:
    """The options."""
    parser = cli.parser("pose.evaluation.submission", __doc__)
    parser.add_argument("--predictions", type=Path, required=True, help=".npz of pose.infer")
    parser.add_argument(
        "--image-info", type=Path, required=True, help="image_info_test-dev2017.json"
    )
    parser.add_argument("--name", required=True, help="the method's name in the files' names")
    parser.add_argument("--output-dir", type=cli.output_folder, required=True)
    add_suppression(parser.add_argument_group("suppression"))
    return parser


cli.answer_early(__name__, command_line)

from pose.datasets.coco import COCO
from pose.datasets.records import image_ids, read_content
from pose.evaluation.coco import METRICS
from pose.evaluation.predictions import Predictions
from pose.evaluation.results import read_results, to_results

SERVER = "submission/server.json"
"""Beside the archive, for the user to write: what the server found."""
COUNTED = 20  # persons an image
DECIMALS = 2  # of a pixel: far below what the score can see, and a third of the file


def best_of_each_image(results: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """At most 20 results of each image, the best ones; ``results`` are ordered by image."""
    kept = []
    for _, persons in groupby(results, key=lambda result: result["image_id"]):
        kept += sorted(persons, key=lambda result: -result["score"])[:COUNTED]
    return kept


def write_archive(
    results: list[dict[str, Any]], image_ids: set[int], name: str, folder: Path
) -> Path:
    """The path of the zip, beside its JSON file, which is read again and checked.

    ``name`` is the method's. Raises PoseError for an odd name and for what the server would refuse.
    """
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9.+-]*", name):
        raise PoseError(f"name {name!r}: use letters, digits, '.', '+' and '-' only")
    path = folder / f"person_keypoints_test-dev2017_{name}_results.json"
    rounded = [
        result | {"keypoints": [round(number, DECIMALS) for number in result["keypoints"]]}
        for result in best_of_each_image(results)
    ]
    if strangers := {result["image_id"] for result in rounded} - image_ids:
        raise PoseError(f"predictions: image {min(strangers)} is not in the image info")
    with atomic(path) as temporary:
        temporary.write_text(json.dumps(rounded, separators=(",", ":")))
        read_results(temporary, image_ids, COCO)
    archive = path.with_suffix(".zip")
    with (
        atomic(archive) as temporary,
        zipfile.ZipFile(temporary, "w", zipfile.ZIP_DEFLATED) as content,
    ):
        content.writestr(_undated(path.name), path.read_bytes())
    return archive


def _undated(name: str) -> zipfile.ZipInfo:
    """An entry that is the same whenever it is written."""
    entry = zipfile.ZipInfo(name)
    entry.compress_type = zipfile.ZIP_DEFLATED
    entry.external_attr = 0o644 << 16
    return entry


def read_image_ids(path: Path) -> set[int]:
    """The images of image_info_test-dev2017.json."""
    return set(image_ids(path, read_content(path)))


def read_server(path: Path) -> dict[str, float]:
    """The server's scores, fractions by the names of :data:`pose.evaluation.coco.METRICS`.

    PoseError for a score that is missing, unknown or not a fraction.
    """
    scores = read_json(path)
    if not isinstance(scores, dict) or "AP" not in scores:
        raise PoseError(f'{path}: write the server\'s scores as {{"AP": 0.742, "AP50": 0.92, ...}}')
    for name, score in scores.items():
        if name not in METRICS:
            raise PoseError(f"{path}: unknown score {name!r}{nearest(name, METRICS)}")
        if type(score) not in (int, float) or not 0 <= score <= 1:
            raise PoseError(f"{path}: {name} is {score!r}; give a fraction, as the server does")
    return scores


@command
def main(argv: list[str] | None = None) -> None:
    args = command_line().parse_args(argv)

    listed = read_image_ids(args.image_info)
    raw = Predictions.load(args.predictions)
    results = to_results(raw, COCO, args.rescore_threshold, args.oks_nms, args.soft_oks_nms)
    archive = write_archive(results, listed, args.name, args.output_dir)
    images = len({result["image_id"] for result in results})
    print(f"{archive}: persons on {images} of {len(listed)} images")


if __name__ == "__main__":
    main()
