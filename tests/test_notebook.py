"""The notebook of questions runs on a results folder."""

import nbformat
import pandas as pd
import pytest
from result_folders import write_complexity, write_persons, write_run

from pose.support.fingerprint import ROOT

NOTEBOOK = ROOT / "docs/questions.ipynb"


@pytest.fixture
def answers(tmp_path, monkeypatch):
    """Runs the notebook's cells on the folder; the last value of each cell that has one."""

    def run(folder) -> list[object]:
        monkeypatch.setenv("POSE_RESULTS", str(folder))
        notebook, space, found = nbformat.read(NOTEBOOK, 4), {}, []
        nbformat.validate(notebook)
        for cell in (cell for cell in notebook.cells if cell.cell_type == "code"):
            *lines, last = cell.source.rsplit("\n", 1)
            exec("\n".join(lines), space)
            found.append(
                eval(last, space) if not last.startswith("SWITCHES") else exec(last, space)
            )
        return found[1:]

    return run


def test_the_notebook_answers_its_ten_questions(tmp_path, answers):
    for order, ap in ((1, 0.2), (2, 0.3), (3, 0.4), (8, 0.5)):
        folder = write_run(tmp_path, f"eeffpose-p0-order{order}", AP=ap)
        write_run(tmp_path, f"eeffpose-p0-order{order}", AP=ap / 2, boxes="det")
        write_persons(folder, left_wrist=[0.9, 0.1, float("nan")], left_wrist_flag=[2, 1, 0])
    write_complexity(tmp_path)
    ran, small, gains, sure, boxes, fast, front, wrists, sizes, beside = answers(tmp_path)
    assert ran["gt"].max() == 50 and list(small["AP"]) == [50, 30, 20]
    assert gains["mean"].dropna().to_dict() == {"backbone": 10, "neck": 20}
    assert len(sure) == 4 and boxes["lost"].max() == 25 and len(fast) == 4
    assert list(front["AP"]) == [20, 30, 50]  # of equal cost here, each better than the last
    assert wrists.loc["eeffpose-p0-order8", "occluded"] == 0.1
    assert sizes.loc["eeffpose-p0-order8", "small"] == 0.9
    assert beside.loc["eeffpose-p0-order8", "rank here"] == 1


def test_the_notebook_takes_a_folder_of_one_bare_run(tmp_path, answers):
    write_run(tmp_path, "hrnet-w32", training=False)
    found = answers(tmp_path)
    assert len(found) == 10 and isinstance(found[0], pd.DataFrame)
