"""What of a config is controlled, audited and analysed for errors, asked without Snakemake."""

import pytest
from configs import config, plan

from workflow import diagnosis
from workflow.plan import Plan
from workflow.settings import read


def test_the_demo_has_one_file_of_controls_an_audit_of_its_last_order_and_its_orders_errors():
    demo = plan("config")
    assert diagnosis.controls(demo) == ["results/demo/eeffpose-p0-order1/controls.csv"]
    assert len(diagnosis.experiments(demo, "eeffpose-p0-order1")) == 8
    assert diagnosis.audit(demo) == "results/demo/eeffpose-p0-order8/seed0/audit.csv"
    files = diagnosis.predictions(demo)
    assert len(files) == 8 and all(file.endswith("predictions_det.npz") for file in files)
    assert "--dataset synthetic" in " ".join(diagnosis.errors(demo))


def test_runs_on_other_data_have_controls_of_their_own():
    paper = Plan(read(config("paper"), ()), several=True)
    groups = diagnosis.controlled(paper)
    assert [paper.runs[run].settings.dataset for run in groups] == ["coco", "mpii"]
    assert sum(map(len, groups.values())) == len(paper.runs)
    assert not diagnosis.detections(paper, [*groups][1])
    assert {paper.runs[run].settings.dataset for run in diagnosis.analysed(paper)} == {"coco"}


@pytest.mark.parametrize("name", ["mpii", "mpii_mini"])
def test_without_ap_there_are_no_kinds_of_errors(name):
    mpii = plan(name)
    assert diagnosis.errors(mpii) == diagnosis.predictions(mpii) == []
    assert not any("errors" in file for file in diagnosis.targets(mpii))
    assert any(file.endswith("tables/audit.html") for file in diagnosis.targets(mpii))
