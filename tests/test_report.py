"""The report: one page of all results, and Snakemake's own."""

import base64
import os
import re
import shutil
import subprocess
from types import SimpleNamespace

import jinja2
import numpy as np
import pandas as pd
import pytest
import yaml
from chromium import PROGRAM, Page
from PIL import Image
from result_folders import write_complexity, write_run
from snakemake_cli import ROOT

from analysis import comparison, quality, report
from analysis.claims import shown
from analysis.report_text import what_was_found
from analysis.results import load_results
from pose.support.errors import PoseError

CAPTIONS = sorted((ROOT / "workflow/report").glob("*.rst"))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Two orders with two seeds, both sources of boxes, tables, and two figures."""
    results = tmp_path_factory.mktemp("results") / "a_b"
    for order in (1, 8):
        for seed in (0, 1):
            for k, boxes in enumerate(("gt", "det")):
                ap = 0.1 * order + 0.01 * seed - 0.05 * k
                write_run(results, f"eeffpose-p0-order{order}", seed, boxes=boxes, AP=ap)
    failed = write_run(results, "eeffpose-p0-order1", 2, run="<img onerror=alert(1)>")
    (failed / "metrics_gt.json").unlink()
    write_complexity(results)
    places = [str(path) for path in results.glob("eeffpose*/seed*")]
    comparison.main(["1", *places, "--output-dir", str(results / "tables")])
    quality.main([*places, "--output-dir", str(results / "tables")])
    figures = results / "figures"
    figures.mkdir()
    (figures / "figure8.svg").write_text('<svg xmlns="http://www.w3.org/2000/svg"/>')
    noise = np.random.default_rng(0).integers(0, 256, (75, 200, 3), np.uint8)
    Image.fromarray(noise).resize((2000, 750)).save(figures / "overlays_a.png")
    report.main([str(results)])
    return results


@pytest.fixture(scope="module")
def text(folder):
    return (folder / "report.html").read_text()


def section(text: str, name: str) -> str:
    return text.partition(f'<section id="{name}">')[2].partition("</section>")[0]


def test_a_summary_says_what_was_run_found_and_not_run(text):
    summary = section(text, "summary")
    assert "2 models, 2 seeds each, on synthetic (4 synthetic images) at 64x48" in summary
    assert (
        "Highest AP in gt boxes on 4 synthetic images at 64x48: 80.5, eeffpose-p0-order8" in summary
    )
    assert "lowest: 10.5, eeffpose-p0-order1" in summary
    assert "none of these scores may be compared with the paper" in summary
    assert "Orders of the ablation: 2, 3, 4, 5, 6, 7." in summary
    assert "failed or unfinished: &lt;img onerror=alert(1)&gt;, seed 2" in summary
    assert re.search(r"Not made: .*claims", summary)


def test_the_summary_tells_effects_claims_and_errors_with_the_runs_behind_them(folder):
    results = load_results(folder)
    setting = results.loc[results["boxes"] == "det", ["dataset", "input", "protocol"]].iloc[0]
    effect = {**setting, "boxes": "det", "score": "AP", "effect": "neck"}
    claims = {"by the paper's tables": ["holds", "fails"], "by measurement": ["not run", "holds"]}
    names = ["eeffpose-p0-order1, seed 0, det boxes", "eeffpose-p0-order8, seed 0, det boxes"]
    errors = {"results": names, "jitter, in turn": ["3.0", "5.0"], "miss, in turn": ["8.0", "9.0"]}
    tables = {name: pd.DataFrame() for names, _ in report.SECTIONS.values() for name in names}
    tables |= {"effects": pd.DataFrame([effect | {"measured": "2.25", "verdict": "more"}])}
    tables |= {"claims": pd.DataFrame(claims), "errors": pd.DataFrame(errors)}
    told = {sentence.text: sentence.runs for sentence in what_was_found(results, tables)}
    runs = told["Effects on AP in det boxes, synthetic at 64x48: neck +2.2 (more)."]
    assert [*results.loc[runs, "boxes"]] == ["det"] * 4
    text = "AP that each kind of error costs, mean of all runs: miss 8.5, jitter 4.0."
    assert [*results.loc[told[text], "order"]] == ["1", "8"]
    assert "Of 2 numbers that the paper claims, by its tables: holds 1, fails 1." in told


def test_parts_that_are_not_there_are_called_not_run(text):
    assert "<b>claims</b>: not run." in section(text, "claims")
    assert "<b>table2</b>: not run." in section(text, "the-papers-tables")
    assert "not run" not in section(text, "results")


def test_an_order_without_any_score_is_a_row_that_was_not_run(tmp_path):
    for order in (1, 2):
        run = write_run(tmp_path, f"eeffpose-p0-order{order}")
    (run / "metrics_gt.json").write_text("")
    write_complexity(tmp_path)
    comparison.main(["1", str(tmp_path), "--output-dir", str(tmp_path / "tables")])
    table = section(report.page(tmp_path, ""), "the-papers-tables")
    assert re.search(r"<tr>(<td[^>]*>[^\n]*){3}70\.5[^\n]*not run[^\n]*</tr>", table)


def test_a_measured_number_leads_to_its_protocol_data_evaluator_commit_and_command(text):
    table = section(text, "the-papers-tables")
    runs = re.search(r'<button data-runs="([\d ]+)">80\.5 ± 0\.7</button>', table)[1].split()
    assert len(runs) == 2  # one a seed, in annotated boxes alone
    for run, seed in zip(runs, (0, 1), strict=True):
        about = text.partition(f'<details id="run-{run}">')[2].partition("</details>")[0]
        fields = dict(re.findall(r"<dt>(.*?)</dt><dd>(?:<code>)?(.*?)(?:</code>)?</dd>", about))
        assert fields["model"] == f"eeffpose-p0-order8 order 8, seed {seed}"
        assert (fields["boxes"], fields["protocol"][:10]) == ("annotated (gt)", "controlled")
        assert fields["data"] == "4 synthetic images, images 4, persons 9, data dddd"
        assert (fields["evaluator"], fields["commit"]) == ("pycocotools 2.0.11", "c0ffee")
        target = f"eeffpose-p0-order8/seed{seed}/metrics_gt.json --cores all"
        assert fields["made again by"].startswith("git checkout c0ffee &amp;&amp; snakemake ")
        assert fields["made again by"].endswith(target)


def test_no_measured_score_of_a_table_is_without_its_runs(text):
    for name in ("results", "the-papers-tables", "controls"):
        cells = re.findall(r'<td class="measured">(.*?)</td>', section(text, name))
        assert all(c.startswith("<button data-runs=") for c in cells if re.match(r"[\d<]", c))
    rows = re.findall(r"<tr>.*</tr>", section(text, "results"))[1:]
    assert len(rows) == 9 and sum("<button" in row for row in rows) == 9


def test_the_page_asks_for_nothing_elsewhere_and_holds_large_pictures_smaller(folder, text):
    assert "default-src 'none'" in text
    places = re.findall(r'(?:src|href)="([^"]*)"', text)
    assert places and all(place.startswith(("data:", "#")) for place in places)
    (picture,) = re.findall(r'src="data:image/webp;base64,([^"]*)"', text)
    assert len(picture) < (folder / "figures/overlays_a.png").stat().st_size / 4
    csv = re.search(r'download="results.csv" href="data:text/csv;base64,([^"]*)"', text)[1]
    assert base64.b64decode(csv).startswith(b"model,order,dataset,input")


def test_a_damaged_table_is_one_line(folder):
    tables = folder / "tables"
    for name, content, problem in (
        ("quality.html", "<html>", "quality.html: not a page of this version"),
        ("quality.csv", "severity\n", "quality.html: does not fit its CSV"),
        ("quality.csv", "", "quality.csv: not a table"),
    ):
        good = (tables / name).read_text()
        (tables / name).write_text(content)
        with pytest.raises(PoseError, match=problem):
            report.page(folder, "")
        (tables / name).write_text(good)


def test_claims_that_nothing_was_measured_for_show_no_number():
    row = {"form": "a - b", "score": "AP", "place": "", "claim": "", "stated": "= 1", "low": np.nan}
    row |= {"paper": 1.0, "measured": np.nan, "high": np.nan}
    row |= {"by the paper's tables": "holds", "by measurement": "not run"}
    assert shown(pd.DataFrame([row])).loc[0, "measured"] == "-"


@pytest.mark.parametrize("config", sorted((ROOT / "config").glob("*.yaml")), ids=lambda p: p.stem)
def test_snakemakes_report_describes_every_config(config):
    settings = yaml.safe_load(config.read_text())
    environment = jinja2.Environment(undefined=jinja2.StrictUndefined)
    template = environment.from_string((ROOT / "workflow/report/workflow.rst").read_text())
    told = template.render(snakemake=SimpleNamespace(config=settings))
    assert told.count("models on") == len(settings.get("runs", [1]))


@pytest.mark.parametrize("caption", CAPTIONS, ids=lambda path: path.stem)
def test_every_caption_of_snakemakes_report_leads_to_the_log(caption):
    if caption.stem != "workflow":
        job = SimpleNamespace(log=["results/a/logs/x/y.log"])
        told = jinja2.Template(caption.read_text()).render(snakemake=job)
        assert "<../logs/x/y.log>" in told


def test_every_table_of_snakemakes_report_is_there_as_numbers_too():
    rules = "".join(path.read_text() for path in (ROOT / "workflow/rules").glob("*.smk"))
    shown = {*re.findall(r'report\(\s*"<results>/tables/([\w{}]+)\.html"', rules)}
    data = {*re.findall(r'report\(\s*"<results>/tables/([\w{}]+)\.csv"', rules)}
    assert shown == data and {"table1", "claims", "quality", "controls"} <= shown


@pytest.fixture
def made(tmp_path):
    """A checkout whose programs only say what they were called with, and ``make`` in it."""
    shutil.copy(ROOT / "Makefile", tmp_path)
    programs = tmp_path / ".venv/bin"
    programs.mkdir(parents=True)
    for name in ("python", "snakemake"):
        (programs / name).write_text(f'#!/bin/sh\necho {name} "$@"\n')
        (programs / name).chmod(0o755)
    for name in ("requirements.lock", ".venv/.installed"):
        (tmp_path / name).touch()
    (tmp_path / "a.yaml").write_text("# name: b\nname: a\n")

    def make(*words: str) -> list[str]:
        outside = {name: value for name, value in os.environ.items() if "MAKE" not in name}
        call = ["make", *words]  # these tests may be run by make themselves
        done = subprocess.run(call, cwd=tmp_path, env=outside, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return done.stdout.splitlines()

    return make


def test_make_report_makes_both_reports_of_any_config_and_says_where_one_cannot_be(made, tmp_path):
    page, workflow, where = made("report", "CONFIG=a.yaml")
    assert page == "python -m analysis.report a.yaml"
    assert workflow == "snakemake --configfile a.yaml --report results/a/report.zip --quiet"
    assert where.split() == ["Workflow", "results/a/report.zip"]
    (tmp_path / ".venv/bin/snakemake").write_text("#!/bin/sh\necho missing >&2\nexit 1\n")
    assert made("report", "CONFIG=a.yaml")[-1].endswith("results/a/logs/report.zip.log says")
    assert (tmp_path / "results/a/logs/report.zip.log").read_text() == "missing\n"


def test_make_demo_names_the_page_last(made):
    assert made("demo")[-1].split() == ["Report", "results/demo/report.html"]


@pytest.mark.slow
@pytest.mark.skipif(PROGRAM is None, reason="there is no Chromium")
def test_in_a_browser_it_sorts_filters_exports_and_is_used_by_keyboard(folder, tmp_path):
    with Page(tmp_path) as page:
        page.open(folder / "report.html")
        table = "document.querySelector('#table-results table.dataTable')"
        models = f"[...{table}.tBodies[0].rows].map(row => row.cells[0].textContent)"
        assert len(page.run(models)) == 9

        for control in ("order", "order"):  # ascending, descending by AP
            column = f"[...{table}.tHead.rows[0].cells].find(c => c.textContent.startsWith('AP'))"
            page.run(f"{column}.querySelector('.dtcc-button_{control}').click()")
        assert page.run(models)[0] == "eeffpose-p0-order8"
        scores = f"[...{table}.tBodies[0].rows].map(row => parseFloat(row.cells[4].textContent))"
        numbers = [n for n in page.run(scores) if n is not None]
        assert numbers == sorted(numbers, reverse=True) and len(numbers) == 8

        page.run("document.querySelector('#table-results input[type=search]').focus()")
        page.ask("Input.insertText", text="order1")
        assert page.run(models) == ["eeffpose-p0-order1"] * 5

        page.run("document.querySelector('#table-results .buttons-csv').click()")
        file = tmp_path / "results.csv"
        page.wait_for(file)
        exported = pd.read_csv(file)
        assert len(exported) == 5 and {"model", "AP"} <= {*exported} and "commit" not in exported
        page.run("document.querySelector('#table-results .buttons-colvis').click()")
        page.run("[...document.querySelectorAll('.dt-button-collection button')]"
                 ".find(b => b.textContent.trim() === 'commit').click()")  # fmt: skip
        assert "commit" in page.run(f"{table}.tHead.textContent")
        page.run("document.querySelector('.dt-button-background').click()")

        page.run(f"{table}.querySelector('td button').focus()")
        page.press("Enter")
        origin = page.run("document.querySelector('#origin[open]').innerText")
        assert "eeffpose-p0-order1" in origin and "git checkout c0ffee" in origin
        page.press("Escape")
        page.run("document.querySelector('.zoom').focus()")
        page.press("Enter")
        width = "document.querySelector('#picture[open] img').clientWidth"
        before = page.run(width)
        page.run("document.querySelector('.larger').click()")
        assert page.run(width) > before
        page.press("Escape")
        assert page.run("document.querySelectorAll('dialog[open]').length") == 0

        for width in (400, 1000, 1600):
            page.resize(width, 900)
            assert page.run("document.documentElement.scrollWidth <= innerWidth"), width
        assert page.complaints() == []
        assert page.requests() == [(folder / "report.html").resolve().as_uri()]
