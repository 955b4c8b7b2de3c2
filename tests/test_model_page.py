"""docs/models.md says what the sheet, the families and the tests of parity say."""

import importlib.util
import re

import pytest
from test_baselines import FIXTURES, ROWS, STATISTICS
from test_models import FIXTURES as ORDERS
from test_models import PARAMS

from pose.config.model_sheet import model_sheet, reconstructions
from pose.models import family_of, list_models
from pose.support.fingerprint import ROOT

SPEC = importlib.util.spec_from_file_location("model_page", ROOT / "docs/models.py")
page = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(page)


def rows() -> dict[str, list[str]]:
    """Model -> the cells of its row."""
    lines = re.findall(r"^\| `(.+?)` \| (.+) \|$", page.document(), re.MULTILINE)
    return {model: cells.split(" | ") for model, cells in lines}


def test_every_model_has_a_row_and_points_to_what_is_told_of_its_family():
    assert list(rows()) == list_models()
    parity, *facts = rows()["litehrnet-30"][1:]
    assert rows()["litehrnet-30"][0] == "[litehrnet](baselines.md#lite-hrnet)"
    assert (parity, facts[-1]) == ("statistics", "6 (Apache-2.0)")


def test_all_that_is_told_of_the_baselines_is_of_a_family_in_the_sheet():
    families = {row["family"] for row in model_sheet().values()}
    assert page._anchors(page.NOTES.read_text()).keys() <= families


def test_every_family_tells_its_source_its_licence_and_whom_to_cite():
    families = {row["family"]: family_of(model) for model, row in model_sheet().items()}
    keys = []
    for family in families.values():
        assert family.source and family.licence
        entry = re.fullmatch(r"@[a-z]+{(\w+),\n((?:  \w+={.+},?\n)+)}", family.bibtex)
        fields = dict(re.findall(r"(\w+)={(.+)}", entry[2]))
        assert {"title", "author", "year"} <= fields.keys()
        assert all(text.count("{") == text.count("}") for text in fields.values())
        keys.append(entry[1])
    assert len(set(keys)) == len(keys)


def test_every_model_of_the_sheet_is_built_by_its_family_and_no_other_is():
    of_families = {model for name in list_models() for model in family_of(name).models}
    assert of_families == set(list_models())
    assert all(name in family_of(name).models for name in list_models())


def test_families_claim_the_parity_that_is_tested():
    compared = {row[0]: "counts" for row in ROWS} | dict.fromkeys(PARAMS, "counts")
    for fixture, model in FIXTURES.items():
        compared[model] = "statistics" if fixture in STATISTICS else "heat maps"
    compared["efficientpose-1"] = "heat maps"  # in tests/test_baselines_efficientpose.py
    for order, entry in ORDERS.items():
        if "outputs" in entry:
            compared[f"eeffpose-{order.lower().replace('_', '-')}"] = "heat maps"
    compared["eeffpose-p0"] = compared["eeffpose-p0-order8"]  # the same net
    claimed = {name: family_of(name).parity.get(name) for name in list_models()}
    assert {name: parity for name, parity in claimed.items() if parity} == compared
    assert not compared.keys() & reconstructions(model_sheet())


def test_a_stale_page_fails_the_check(tmp_path, monkeypatch):
    monkeypatch.setattr(page, "FILE", tmp_path / "models.md")
    with pytest.raises(SystemExit, match=r"models\.md is stale"):
        page.main(["--check"])
    page.main([])
    page.main(["--check"])
