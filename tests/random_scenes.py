"""Random annotations and results in COCO's format."""

import numpy as np


def random_scene(seed, first_id=1):
    """Annotations and results with all that makes COCO's matching hard.

    Crowds, persons without keypoints, twins, areas at the limits of the sizes, absent sizes, images
    with more than 20 detections, equal and negative scores, results that bring a box.
    """
    rng = np.random.default_rng(seed)
    images = [{"id": int(number)} for number in rng.permutation(1000)[: rng.integers(1, 12)]]
    sizes = [20, 80, 300] if rng.random() > 0.2 else [20]
    people, results = [], []
    for image in images:
        here = [random_person(rng, rng.choice(sizes)) for _ in range(rng.integers(0, 6))]
        if len(here) > 1 and rng.random() < 0.4:
            here[1]["keypoints"] = here[0]["keypoints"]
        for person in here:
            people.append(person | {"id": first_id + len(people), "image_id": image["id"]})
        for _ in range(rng.choice([0, 1, 5, 30])):
            joints = rng.uniform(0, 300, (17, 3))
            if here and rng.random() < 0.7:
                person = here[rng.integers(len(here))]
                spread = np.sqrt(person["area"]) * rng.choice([0, 0.01, 0.05, 0.1])
                joints = np.reshape(person["keypoints"], (17, 3)) + rng.normal(0, spread, (17, 3))
            results.append(
                {
                    "image_id": image["id"],
                    "category_id": 1,
                    "keypoints": joints.ravel().tolist(),
                    "score": float(rng.choice([rng.random(), 0.5, 0.25, 0, -1])),
                }
            )
    if seed % 3 == 0:
        results = [r | {"bbox": [0, 0, *rng.uniform(10, 200, 2).tolist()]} for r in results]
    rng.shuffle(people)
    category = {"id": 1, "name": "person", "keypoints": ["k"] * 17, "skeleton": []}
    return {"images": images, "annotations": people, "categories": [category]}, results


def random_person(rng, size):
    width, height = rng.uniform(0.2, 1.5, 2) * size
    x, y = rng.uniform(0, 300, 2)
    visible = rng.integers(0, 3, 17) * (rng.random() > 0.3)
    joints = np.stack([rng.uniform(x, x + width, 17), rng.uniform(y, y + height, 17)], axis=1)
    keypoints = np.column_stack([joints * (visible > 0)[:, None], visible])
    return {
        "category_id": 1,
        "iscrowd": int(rng.random() < 0.15),
        "bbox": [x, y, width, height],
        "area": float(rng.choice([width * height, 32**2, 96**2], p=[0.9, 0.05, 0.05])),
        "keypoints": keypoints.ravel().tolist(),
        "num_keypoints": int((visible > 0).sum()),
    }
