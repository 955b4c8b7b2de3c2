"""Heat maps of one person by several nets: ``python -m pose.maps CHECKPOINT... --data-root DIR``.

Writes the person's crop, and each net's maps of every scale and the final ones, without a flip
test. The person is the one with most annotated joints, of several the one with the largest box.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

from pose.support import cli
from pose.support.errors import PoseError, command
from pose.support.files import write_file


def command_line() -> cli.Parser:
    """The options."""
    parser = cli.parser("pose.maps", __doc__)
    parser.add_argument("checkpoints", nargs="+", metavar="CHECKPOINT", help="as of pose.predict")
    parser.add_argument("--data-root", type=Path, required=True, help=cli.DATA_ROOT)
    parser.add_argument("--output", type=cli.output_file(), required=True, help="an .npz file")
    return parser


cli.answer_early(__name__, command_line)

import numpy as np
import torch
from torch import nn

from pose.config import Experiment
from pose.data.dataset import PoseDataset
from pose.data.samples import Samples, open_split
from pose.predict import load_checkpoint
from pose.targets.heatmap import normalise


def clearest(samples: Samples) -> int:
    """The number of the person with most annotated joints, of several that with the largest box."""
    return int(np.lexsort((samples.areas, samples.visible.sum(axis=1)))[-1])


@torch.inference_mode()
def maps_of(model: nn.Module, crop: torch.Tensor, experiment: Experiment) -> list[np.ndarray]:
    """The maps (K, h, w) of each scale, finest first, and last the final ones; a sure joint has 1.

    ``crop``: uint8 (H, W, 3) RGB. A net that does not predict by scale has final maps alone.
    """
    images = normalise(crop[None], experiment.image)
    scales = model.scale_maps(images) if hasattr(model, "scale_maps") else []
    final = model(images) / experiment.target.peak
    return [maps[0].numpy() for maps in (*scales, final)]


def collect(checkpoints: Sequence[str], data_root: Path, split: str = "val") -> dict[str, Any]:
    """What the command writes: ``crop``, ``joints``, ``visible``, ``about`` (JSON) and the maps.

    The maps of net ``n`` are ``maps_n_0``, ... Raises PoseError unless all nets were trained on one
    data set and input size.
    """
    about: list[dict[str, Any]] = []
    arrays: dict[str, Any] = {}
    samples, setting = None, None
    for number, checkpoint in enumerate(checkpoints):
        model, experiment = load_checkpoint(checkpoint)
        own = experiment.dataset, experiment.input_size
        if samples is None:
            setting = own
            samples = open_split(experiment.dataset, data_root, split, experiment.input_size)
            person = clearest(samples)
            item = PoseDataset(samples, experiment.input_size)[person]
        elif own != setting:
            raise PoseError(
                f"{checkpoint} is of {own[0]} at {own[1]}, {checkpoints[0]} of {setting[0]} at"
                f" {setting[1]}; give nets of one data set and input"
            )
        maps = maps_of(model.eval(), item["image"], experiment)
        arrays |= {f"maps_{number}_{k}": one.astype(np.float16) for k, one in enumerate(maps)}
        about.append({"model": experiment.model, "maps": len(maps)})
    person_id, image = int(samples.person_ids[person]), int(samples.image_ids[person])
    where = {"dataset": setting[0], "image": image, "person": person_id, "nets": about}
    where["keypoints"] = list(samples.keypoints.names)
    crop = {name: item[name].numpy() for name in ("joints", "visible")}
    return arrays | crop | {"crop": item["image"].numpy(), "about": json.dumps(where)}


@command
def main(argv: list[str] | None = None) -> None:
    args = command_line().parse_args(argv)
    content = BytesIO()
    np.savez_compressed(content, **collect(args.checkpoints, args.data_root))
    write_file(args.output, content.getvalue())


if __name__ == "__main__":
    main()
