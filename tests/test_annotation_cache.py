"""Annotations that were read once are kept, and never stand for another file's."""

import os

import numpy as np
import pytest
from test_samples import SIZE, annotated

from pose.data.samples import load_persons, open_split
from pose.datasets import cache, coco
from pose.datasets.records import NO_AREA


@pytest.fixture
def caching(tmp_path, monkeypatch):
    """The folder of a cache that small files enter too."""
    monkeypatch.setenv("POSE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(cache, "SMALL", 0)
    return tmp_path / "cache/annotations"


def same(one, other):
    arrays = [name for name, value in vars(one).items() if isinstance(value, np.ndarray)]
    equal = (np.array_equal(getattr(one, n), getattr(other, n)) for n in arrays)
    return all(equal) and len(arrays) == 10 and one.skipped == other.skipped


def test_cached_annotations_are_what_the_file_says(test_data, caching, monkeypatch):
    root = test_data / "coco_mini"
    boxes = root / "person_detections_4_val_images.json"
    kinds = (("train", None), ("val", None), ("val", boxes))
    read = [open_split("coco", root, split, SIZE, file) for split, file in kinds]
    assert len(list(caching.glob("*.npz"))) == 4  # persons twice, the val images, the boxes
    monkeypatch.setattr("pose.datasets.records.read_json", None)
    again = [open_split("coco", root, split, SIZE, file) for split, file in kinds]
    assert all(same(*pair) for pair in zip(read, again, strict=True))


def test_a_file_is_read_anew_when_its_content_changes_not_its_date(tmp_path, caching):
    path = annotated(tmp_path, {})
    assert load_persons(coco.DATASET, path, tmp_path, SIZE).person_ids.tolist() == [7]
    path = annotated(tmp_path, {"id": 8}, {"area": 0})
    changed = load_persons(coco.DATASET, path, tmp_path, SIZE)
    assert changed.person_ids.tolist() == [8] and changed.skipped == {NO_AREA: 1}
    before = set(caching.glob("*.npz"))
    os.utime(path, (1, 1))
    assert same(load_persons(coco.DATASET, path, tmp_path, SIZE), changed)
    assert set(caching.glob("*.npz")) == before


@pytest.mark.parametrize("damage", ["cut", "a byte", "empty"])
def test_a_damaged_cache_is_made_again(damage, tmp_path, caching, capsys):
    path = annotated(tmp_path, {})
    whole = load_persons(coco.DATASET, path, tmp_path, SIZE)
    (store,) = caching.glob("*.npz")
    content = bytearray(store.read_bytes())
    content[content.index(np.float32(30).tobytes())] ^= 1  # a joint's y
    store.write_bytes({"cut": content[:-50], "a byte": content, "empty": b""}[damage])
    assert same(load_persons(coco.DATASET, path, tmp_path, SIZE), whole)
    assert "is damaged and made again" in capsys.readouterr().err
    assert same(load_persons(coco.DATASET, path, tmp_path, SIZE), whole)
    assert "damaged" not in capsys.readouterr().err


def test_a_cache_that_cannot_be_written_stops_nobody(tmp_path, caching, capsys):
    caching.parent.write_text("a file where a folder is wanted")
    assert len(load_persons(coco.DATASET, annotated(tmp_path, {}), tmp_path, SIZE)) == 1
    assert "annotations are not cached: " in capsys.readouterr().err
