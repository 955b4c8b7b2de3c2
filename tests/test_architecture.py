"""docs/architecture.md says what the sources say."""

import importlib.util

import pytest

from pose.support.fingerprint import ROOT

SPEC = importlib.util.spec_from_file_location("architecture", ROOT / "docs/architecture.py")
architecture = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(architecture)


def test_every_package_is_told_with_its_role_and_its_real_imports():
    text = architecture.document()
    (evaluation,) = (line for line in text.splitlines() if line.startswith("| `pose.evaluation`"))
    assert "From heat maps to numbers" in evaluation and "`pose.data`" in evaluation
    assert "`pose.models`" not in evaluation


def test_a_stale_page_fails_the_check(tmp_path, monkeypatch):
    monkeypatch.setattr(architecture, "FILE", tmp_path / "architecture.md")
    with pytest.raises(SystemExit, match=r"architecture\.md is stale"):
        architecture.main(["--check"])
    architecture.main([])
    architecture.main(["--check"])
    with architecture.FILE.open("a") as page:
        page.write("more")
    with pytest.raises(SystemExit, match="is stale"):
        architecture.main(["--check"])


def test_a_function_on_the_images_way_that_is_gone_is_named(monkeypatch):
    monkeypatch.setattr(architecture, "WAY", [("pose.infer.predcit", "predicts")])
    with pytest.raises(SystemExit, match=r"there is no pose\.infer\.predcit"):
        architecture.document()
