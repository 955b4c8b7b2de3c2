"""What the rules of released.smk share: the authors' checkpoints, and the data they are run on."""

from pose.weights.published import checkpoints, published_file


def released_roots():
    """Data set -> its folder, of those that the config has; stopping at a wrong one."""
    roots = {}
    for dataset in ("coco", "mpii"):
        key = f"{dataset}_root"
        if config.get(key):
            roots[dataset] = Path(config[key])
            try:
                layout.images(dataset, roots[dataset], "val")
            except PoseError as error:
                stop(str(error).replace("data_root", key))
    return roots


RELEASED_ROOTS = released_roots()
RELEASED = [file for file in checkpoints() if file.dataset in RELEASED_ROOTS]
RELEASED_BOXES = {
    "coco": ["gt", "det"] if config.get("coco_detections") else ["gt"],
    "mpii": ["gt"],
}


def released_metrics(wildcards):
    """The metrics of every checkpoint whose data the config has."""
    if not RELEASED:
        stop("released: no data; add --config coco_root=DIR, mpii_root=DIR or both")
    return [
        f"<results>/released/{file.name}/metrics_{boxes}.json"
        for file in RELEASED
        for boxes in RELEASED_BOXES[file.dataset]
    ]


def released_experiment(wildcards):
    file = published_file(wildcards.checkpoint)
    size = tuple(int(side) for side in file.input.split("x"))
    return resolve_experiment(file.model, file.dataset, size, "released")


def released_data(wildcards):
    """The data set of a checkpoint, and its folder."""
    dataset = published_file(wildcards.checkpoint).dataset
    if dataset not in RELEASED_ROOTS:
        stop(f"{dataset}_root is not set; add it by --config")
    return dataset, RELEASED_ROOTS[dataset]


def released_annotations(wildcards):
    return layout.annotations(*released_data(wildcards), "val")


def released_truth(wildcards):
    return layout.ground_truth(*released_data(wildcards))


def released_detections(wildcards):
    """The detector's boxes, or nothing."""
    _, root = released_data(wildcards)
    return [root / config["coco_detections"]] if wildcards.boxes == "det" else []


def released_detections_argument(wildcards, input):
    return (
        f"--detections {shlex.quote(str(input.detections))}" if input.detections else ""
    )


def released_scoring(wildcards):
    """The arguments of ``pose.evaluate``; the authors tell no seed."""
    experiment, name = released_experiment(wildcards), wildcards.checkpoint
    _, root = released_data(wildcards)
    return scoring_arguments(experiment, root, "null", wildcards.boxes, checkpoint=name)
