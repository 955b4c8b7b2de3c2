"""A training that is killed again and again ends as if it had not been."""

import random
import time
from pathlib import Path

import pytest

EPOCHS = 12
OFTEN = {"checkpoint_minutes": 1e-9}  # after every step


def saved(run_dir: Path) -> int:
    """The step of the newest checkpoint."""
    names = [path.stem for path in run_dir.glob("checkpoint-*.pt")]
    return max((int(name.removeprefix("checkpoint-")) for name in names), default=0)


@pytest.mark.parametrize("processes", [1, 2])
def test_ten_kills_at_random_moments_change_no_byte(data_root, tmp_path, runs, processes):
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    arguments = {"processes": processes, "options": OFTEN, "epochs": EPOCHS}
    assert runs.finish(data_root, whole, **arguments) == [0] * processes

    moments = random.Random(0)
    for _ in range(10):
        before, steps = saved(killed), moments.randint(0, 4)
        trainers = runs.start(data_root, killed, **arguments)
        while saved(killed) < before + steps and trainers[0].is_alive():
            time.sleep(0.001)
        time.sleep(moments.uniform(0, 0.02))
        for trainer in trainers:
            trainer.kill()
        for trainer in trainers:
            trainer.join()
    assert runs.finish(data_root, killed, **arguments) == [0] * processes

    output = Path(f"{killed}-0.txt").read_text()
    assert output.count("resumed at") >= 3, output
    for name in ("best.safetensors", "training.jsonl"):
        assert (killed / name).read_bytes() == (whole / name).read_bytes()
    assert not list(killed.glob(".*")), "half-written files are cleared away"
