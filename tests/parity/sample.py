"""Take the samples in this folder from the full fixtures: ``python tests/parity/sample.py FOLDER``.

The fixtures are outputs of the original implementations under weights and an input that anybody can
rebuild (tests/reference_fill.py). They are too large for a repository, and so a few dozen values of
each stand here as text, with the mean and standard deviation of the whole array.
"""

import gzip
import json
import sys
from collections.abc import Iterable
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np

VALUES = 48  # of each array
DECODED = range(0, 4 * 17, 3)  # joints of each set of heat maps, two of them without a peak
CHOSEN = [0, 3, 6, 9, 12, 15]  # joints of each cropped person
CROPS = ("coco_256x192", "coco_384x288", "mpii_256x256")


def digest(shapes: Iterable[tuple[str, Iterable[int]]]) -> str:
    """SHA-256 of the sorted lines "name length length ..." of a state dict's tensors."""
    lines = sorted(" ".join([name, *map(str, shape)]) for name, shape in shapes)
    return sha256("\n".join(lines).encode()).hexdigest()


def sampled(array: np.ndarray) -> dict[str, Any]:
    """Values of an array, its mean and standard deviation; ``at`` are indices when flattened."""
    at = np.random.RandomState(0).choice(array.size, min(VALUES, array.size), replace=False)
    return {
        "shape": list(array.shape),
        "mean": rounded(array.mean(dtype=np.float64)),
        "std": rounded(array.std(dtype=np.float64)),
        "at": at.tolist(),
        "values": rounded(array.ravel()[at]),
    }


def rounded(array: np.ndarray, digits: int = 9) -> Any:
    """An array as nested lists; 9 digits tell float32 numbers apart."""
    if array.ndim:
        return [rounded(part, digits) for part in array]
    number = float(f"{float(array):.{digits}g}")
    return int(number) if number.is_integer() else number


def models(folder: Path, manifest: str, file: str) -> dict[str, Any]:
    """Of each model: its tensors' digest, its size, how it is filled, samples of its outputs."""
    with gzip.open(folder / manifest) as content:
        entries = json.load(content)
    kept = "variant", "order", "num_keypoints", "input_hw", "gain", "params", "unused_params"
    found = {}
    for name, entry in entries.items():
        unused = entry.get("unused_keys", [])  # of parts that the published class never calls
        used = [(key, shape) for key, shape in entry["state"] if key not in unused]
        found[name] = {key: entry[key] for key in kept if key in entry}
        found[name] |= {"tensors": len(used), "sha256": digest(used)}
        if unused:
            shapes = dict(entry["state"])
            found[name]["unused"] = digest((key, shapes[key]) for key in unused)
        path = folder / file.format(name)
        if path.exists():
            found[name]["file"] = path.name
            with np.load(path) as arrays:
                found[name]["outputs"] = {key: sampled(arrays[key]) for key in arrays}
    return found


def crops(folder: Path) -> dict[str, Any]:
    """Of each cropped person: the box, the affine map, and the targets of some joints."""
    found = {}
    for name in CROPS:
        cases = json.loads((folder / f"pipeline_{name}.json").read_text())
        with np.load(folder / f"pipeline_{name}.npz") as arrays:
            for number, case in enumerate(cases):
                entry = {"rotation": case["rotation"], "flip": case["flip"]}
                for key in ("center", "scale", "trans"):
                    entry[key] = rounded(arrays[f"{key}_{number}"])
                for key in ("joints", "vis", "target_weight", "target_argmax", "target_sum"):
                    entry[key] = rounded(arrays[f"{key}_{number}"][CHOSEN])
                found[f"{name} {number}"] = entry
    return found


def decoding(arrays: dict[str, np.ndarray]) -> dict[str, Any]:
    """Joints with the heat map around their peak, and a row of pixels of the flip test."""
    found: dict[str, Any] = {"joints": []}
    for maps, suffix in (("heatmaps", ""), ("average", "_average")):
        for index in (divmod(joint, 17) for joint in DECODED):
            heatmap = arrays[maps][index]
            y, x = divmod(int(heatmap.argmax()), heatmap.shape[1])
            top, left = max(y - 1, 0), max(x - 1, 0)
            found["joints"].append({
                "corner": [left, top],
                "around": rounded(heatmap[top : y + 2, left : x + 2]),
                "center": rounded(arrays["center"][index[0]]),
                "scale": rounded(arrays["scale"][index[0]]),
                "coords": rounded(arrays["coords" + suffix][index]),
                "maxval": rounded(arrays["maxvals" + suffix][index][0]),
            })  # fmt: skip
    row = (0, slice(None), 31)  # of all keypoints of the first image
    for key in ("heatmaps", "flipped"):
        found[key] = rounded(arrays[key][row])
    for key in ("flipped_back_shifted", "average"):
        found[key] = sampled(arrays[key][row])
    return found


def suppression(folder: Path, arrays: dict[str, np.ndarray]) -> dict[str, Any]:
    """The invented persons of OKS-NMS, and whom it keeps."""
    persons = {key: rounded(arrays[f"nms_{key}"]) for key in ("keypoints", "scores", "areas")}
    return persons | {"kept": json.loads((folder / "pipeline_nms.json").read_text())}


def sample(folder: Path) -> dict[str, Any]:
    """The contents of all files of samples, by name."""
    with np.load(folder / "pipeline_decode.npz") as content:
        arrays = dict(content)
    return {
        "eeffpose": models(folder, "eeffpose_manifest.json.gz", "eeffpose_{}.npz"),
        "baselines": models(folder, "baselines_manifest.json.gz", "baseline_{}.npz"),
        "crops": crops(folder),
        "decoding": decoding(arrays),
        "suppression": suppression(folder, arrays),
    }


if __name__ == "__main__":
    for name, entries in sample(Path(sys.argv[1])).items():
        lines = (f"{json.dumps(key)}: {json.dumps(entry)}" for key, entry in entries.items())
        text = "{\n" + ",\n".join(lines) + "\n}\n"
        (Path(__file__).parent / f"{name}.json").write_text(text)
