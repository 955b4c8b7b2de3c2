"""Tables and figures, on made-up result files."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from matplotlib.collections import PathCollection
from safetensors.numpy import save_file

from analysis import figure1, figure8, overlays, reported, style, training
from analysis.ablation import line_styles, orders_of
from analysis.results import load_curves, load_latencies, load_results
from pose.config.model_sheet import FILE, read_sheet, switches
from pose.data.samples import Samples
from pose.datasets.coco import COCO
from pose.evaluation.predictions import Predictions
from pose.support.errors import PoseError

ROOT = Path(__file__).parent.parent
SHEET = read_sheet()
PARAMS = {1: 3_797_279, 2: 8_423_785, 8: 9_004_292}


def write_metrics(folder: Path, order: int, seed: int = 0, boxes: str = "gt", **values) -> Path:
    row = {
        **{"model": f"eeffpose-p0-order{order}", "seed": seed, "boxes": boxes, "AP": 0.25},
        **{"AR": 0.3, "APM": -1.0, "protocol": "controlled", "input": "64x48"},
        **{"dataset": "synthetic", "evaluator": "pycocotools 2.0.11", "persons": 9, "images": 4},
    }
    file = folder / f"{order}_{seed}_{boxes}.json"
    file.write_text(json.dumps(row | values))
    return file


def write_result(folder: Path, order: int, seed: int = 0, boxes: str = "gt", **values) -> Path:
    """The same as a run's file in ``folder/demo``."""
    model = values.get("model", f"eeffpose-p0-order{order}")
    run = folder / "demo" / f"{model}-{values.get('input', '64x48')}" / f"seed{seed}"
    run.mkdir(parents=True, exist_ok=True)
    return write_metrics(run, order, seed, boxes, **values).rename(run / f"metrics_{boxes}.json")


@pytest.fixture
def complexity(tmp_path) -> Path:
    file = tmp_path / "complexity.csv"
    rows = [f"eeffpose-p0-order{k},256x192,17,{PARAMS[k]},4.0" for k in PARAMS]
    rows += ["danet-72,256x192,17,3345000,1.024", "hrnet-w16,256x256,16,1284944,0.7698"]
    file.write_text("\n".join(["model,input,num_keypoints,params,gmacs_fvcore", *rows]) + "\n")
    return file


def write_log(folder: Path, order: int, seed: int = 0, **score) -> Path:
    file = folder / "demo" / f"eeffpose-p0-order{order}" / f"seed{seed}" / "training.jsonl"
    file.parent.mkdir(parents=True, exist_ok=True)
    score = score or {"AP": 0.2}
    lines = [
        {"epoch": e, "lr": 1e-3 * (e + 3) / 3 if e < 0 else 1e-3, **score} for e in (-2, -1, 0)
    ]
    file.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return file


def test_training_figure_draws_every_run(tmp_path):
    for order in (1, 8):
        file = write_log(tmp_path, order).with_name("performance.jsonl")
        line = {"event": "epoch", "loss": 0.1, "images_per_second": 9.0, "data_wait_share": 0.2}
        file.write_text("".join(json.dumps({"epoch": e} | line) + "\n" for e in (0, 1)))
    figure = training.training_figure(load_curves(tmp_path / "demo"), SHEET)
    assert [len(axes.lines) for axes in figure.axes] == [2, 2, 2]
    styles = line_styles(orders_of(SHEET))
    assert [line.get_color() for line in figure.axes[0].lines] == [
        styles[order]["color"] for order in "18"
    ]


def test_figure8_follows_the_papers_line_rule(tmp_path):
    for order in range(1, 9):
        write_log(tmp_path, order, AP=0.2, lr=1e-3 * order)
    figure = figure8.convergence_figure(load_curves(tmp_path), SHEET)
    ap, lr = figure.axes
    assert lr.get_yscale() == "log"
    for axes in (ap, lr):
        lines = {int(line.get_label()): line for line in axes.get_lines()}
        assert {k for k in lines if lines[k].get_linestyle() == "-"} == {2, 6, 7, 8}
        thin = min(line.get_linewidth() for line in lines.values())
        assert {k for k in lines if lines[k].get_linewidth() > thin} == {3, 5, 6, 8}
        red = {k for k in lines if _is_red(lines[k].get_color())}
        assert red == {4, 5, 7, 8}
    assert list(ap.get_lines()[0].get_ydata()) == [20.0] * 3  # percent
    assert list(lr.get_lines()[0].get_xdata()) == [-2, -1, 0]


def test_figure8_draws_the_median_of_the_seeds_and_their_range(tmp_path):
    scores = {0: 0.1, 1: 0.2, 2: 0.6}
    files = [write_log(tmp_path, 8, seed, AP=score) for seed, score in scores.items()]
    files[2].write_text(files[2].read_text().splitlines()[0] + "\n")  # this one was interrupted
    top, _ = figure8.convergence_figure(load_curves(tmp_path), SHEET).axes
    (line,), (band,) = top.get_lines(), top.collections
    assert np.allclose(line.get_ydata(), [20, 15, 15])
    bounds = band.get_datalim(top.transData).extents
    assert np.allclose(bounds, [-2, 10, 0, 60])
    assert "3 seeds" in top.get_title(loc="left")
    assert all(tick == round(tick) for tick in top.get_xticks())


def test_figure8_draws_a_learning_rate_once_and_names_the_orders_that_share_it(tmp_path):
    same = [write_log(tmp_path, order) for order in (1, 2)]
    same[1].write_text("".join(f"{line}\n" for line in same[1].read_text().splitlines()[:2]))
    _, rates = figure8.convergence_figure(load_curves(tmp_path), SHEET).axes
    assert [line.get_label() for line in rates.get_lines()] == ["all"]
    write_log(tmp_path, 8, AP=0.2, lr=5e-4)
    _, rates = figure8.convergence_figure(load_curves(tmp_path), SHEET).axes
    assert {line.get_label() for line in rates.get_lines()} == {"1, 2", "8"}


def _is_red(colour: str) -> bool:
    return int(colour[1:3], 16) > int(colour[5:7], 16)


def sheet_with(folder: Path, *rows: str, column: str | None = None) -> Path:
    """The sheet of models with further rows, and with a further column for the last of them."""
    lines = [*FILE.read_text().splitlines(), *("\t".join(row.split(" ")) for row in rows)]
    if column:
        lines = [f"{line}\t-" for line in lines]
        lines[0] = lines[0].removesuffix("-") + column
        lines[-1] = lines[-1].removesuffix("-") + "on"
    file = folder / "models.tsv"
    file.write_text("\n".join(lines) + "\n")
    return file


CROSS = "eeffpose-p0-cross eeffpose 12 meme cross meme - false protocol 4 activation -"


def test_logs_of_a_model_that_the_sheet_lacks_are_refused_not_left_out(tmp_path):
    with pytest.raises(PoseError, match=r"eeffpose-p0-order9, which is not in config/models\.tsv"):
        write_log(tmp_path, 9)
        figure8.convergence_figure(load_curves(tmp_path), SHEET)


def test_every_order_has_a_line_style_of_its_own_and_the_eight_keep_theirs(tmp_path):
    more = [
        CROSS,
        CROSS.replace("cross", "cross2").replace("12 meme", "13 plain"),
        "eeffpose-p0-sum eeffpose 14 meme meme sum - false protocol 4 activation -",
        "eeffpose-p0-deep eeffpose 15 deep plain plain - false protocol 4 activation -",
        "eeffpose-p0-sieved eeffpose 16 meme meme meme - false protocol 4 activation -",
    ]
    eight = line_styles(orders_of(SHEET))
    styles = line_styles(orders_of(read_sheet(sheet_with(tmp_path, *more, column="sieve"))))
    assert {order: styles[order] for order in eight} == eight
    assert len({str(style) for style in styles.values()}) == len(styles) == 13
    assert styles["16"]["marker"] and not styles["8"]["marker"]


def test_figures_show_a_further_order_beside_the_eight(tmp_path, complexity):
    sheet = read_sheet(sheet_with(tmp_path, CROSS))
    file = write_log(tmp_path, 12)
    file.parent.parent.rename(file.parents[2] / "eeffpose-p0-cross")
    write_log(tmp_path, 8)
    figure = figure8.convergence_figure(load_curves(tmp_path), sheet)
    (legend,) = figure.legends
    assert "Not among these results: orders 1, 2, 3, 4, 5, 6, 7." in legend.get_title().get_text()
    shown = [text.get_text() for text in legend.get_texts()]
    assert shown == ["8: backbone + neck + head", "12: backbone + cross neck + head"]

    complexity.write_text(complexity.read_text() + "eeffpose-p0-cross,256x192,17,5000000,3.0\n")
    write_result(tmp_path, 8, model="eeffpose-p0-cross")
    results = load_results(tmp_path, models=tmp_path / "models.tsv")
    figure = figure1.main_figure(results, load_latencies(tmp_path))
    assert "12" in [text.get_text() for text in figure.axes[-2].texts]


def test_a_log_is_of_the_model_that_the_weights_beside_it_name(tmp_path):
    file = write_log(tmp_path, 3)
    told = {"dataset": "coco", "protocol": "released", "seed": 0, "input_size": [256, 192]}
    about = {"experiment": {"model": "eeffpose-p0-order7"} | told}
    arrays = {"a": np.zeros(1, np.float32)}
    save_file(arrays, file.with_name("weights.safetensors"), {"about": json.dumps(about)})
    write_log(tmp_path, 4)
    assert set(load_curves(tmp_path)["model"]) == {"eeffpose-p0-order7", "eeffpose-p0-order4"}


def test_the_sheet_says_of_the_papers_orders_what_the_paper_says():
    orders = orders_of(SHEET) == "meme"
    paper = reported.ablation()
    assert list(orders.index) == [str(order) for order in paper.index]
    assert (orders.to_numpy() == paper[list(reported.SWITCHES)].to_numpy()).all()
    others = [row for row in SHEET.values() if row["family"] != "eeffpose"]
    assert {value for row in others for value in switches(row).values()} == {"plain"}


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (
            "eeffpose-p0 eeffpose - meme meme meme - false protocol 4 activation -",
            "eeffpose-p0 is there twice",
        ),
        (CROSS.replace(" 12 ", " 8 "), "order8 and eeffpose-p0-cross are both order 8"),
        ("eeffpose-p0-cross eeffpose 9", "the row of eeffpose-p0-cross does not have 12 columns"),
        (f"{CROSS} x", "the row of eeffpose-p0-cross does not have 12 columns"),
    ],
)
def test_a_mistake_in_the_sheet_of_models_is_named(tmp_path, row, message):
    with pytest.raises(PoseError, match=message):
        read_sheet(sheet_with(tmp_path, row))
    with pytest.raises(PoseError, match="it lacks model, family"):
        read_sheet(ROOT / "config/complexity.csv")
    with pytest.raises(PoseError, match=r"no\.tsv: not the sheet of models"):
        read_sheet(tmp_path / "no.tsv")


def test_tables_and_figures_need_neither_torch_nor_the_models():
    modules = [f"analysis.{file.stem}" for file in sorted((ROOT / "analysis").glob("[a-z]*.py"))]
    code = f"import sys, {', '.join(modules)}\n"
    code += "print({'torch', 'pose.models', 'pose.infer'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.stdout == "set()\n", done.stdout + done.stderr


def marks(axes) -> set[tuple[float, float]]:
    """Where the reported models are drawn."""
    scattered = [dots for dots in axes.collections if isinstance(dots, PathCollection)]
    return {tuple(offset) for dots in scattered for offset in dots.get_offsets()}


def figure1_of(folder: Path):
    return figure1.main_figure(load_results(folder), load_latencies(folder))


def test_figure1_has_every_row_of_table_2_and_effbase_and_ours_in_other_panels(
    tmp_path, complexity
):
    write_result(tmp_path, 8)
    write_result(tmp_path, 1, dataset="coco")
    params, gmacs, *others = figure1_of(tmp_path).axes
    table = reported.coco_val()
    reported_marks = set(zip(table["params_m"], table["AP"], strict=True))
    assert marks(params) == reported_marks | {(3.797279, 67.8)}
    assert len(marks(gmacs)) == len(table) + 1
    assert {axes.get_title(loc="left") for axes in others if axes.get_title(loc="left")} == {
        "Measured here alone: synthetic (4 synthetic images)",
        "Measured here alone: coco (4 of 5000 images)",
    }
    drawn = [tuple(axes.get_lines()[0].get_xydata()[0]) for axes in others if axes.get_lines()]
    assert sorted(drawn) == [(3.797279, 25.0), (4.0, 25.0), (4.0, 25.0), (9.004292, 25.0)]


def test_figure1_draws_ours_among_the_reported_only_on_the_whole_of_coco_val(tmp_path, complexity):
    def panels(**values) -> int:
        write_result(tmp_path, 8, **values)
        return len(figure1_of(tmp_path).axes)

    assert panels(dataset="coco", images=5000) == 3
    assert panels(dataset="coco", images=4) == 5
    assert panels(dataset="synthetic", images=5000) == 5


def test_figure1_has_a_mark_of_its_own_for_each_input_and_a_bar_over_the_seeds(
    tmp_path, complexity
):
    whole = {"dataset": "coco", "images": 5000}
    for seed, score in enumerate((0.70, 0.71, 0.75)):
        write_result(tmp_path, 8, seed, AP=score, input="256x192", **whole)
    write_result(tmp_path, 8, AP=0.77, input="384x288", **whole)
    rows = figure1.summarised(load_results(tmp_path)).set_index("input")
    assert list(rows.index) == ["256x192", "384x288"]
    assert np.allclose(rows.loc["256x192", ["mean", "low", "high"]].astype(float), [72, 70, 75])
    params, *_ = figure1_of(tmp_path).axes
    bars = [container.lines[0] for container in params.containers]
    assert [line.get_marker() for line in bars] == ["o", "s"]


def test_a_run_whose_cost_was_not_counted_is_named_in_figure1(tmp_path):
    write_result(tmp_path, 8)
    with pytest.raises(PoseError, match=r"no row for eeffpose-p0-order8; rerun pose\.complexity"):
        figure1_of(tmp_path)


def test_coco_and_mpii_never_share_a_panel(tmp_path, complexity):
    complexity.write_text(complexity.read_text() + "eeffpose-p0-order8,256x256,16,9007094,6.66\n")
    write_result(tmp_path, 8, dataset="coco", images=5000, input="256x192")
    joints = {"PCKh@0.5": 90.4, "persons": 2958, "dataset": "mpii", "input": "256x256"}
    file = write_result(tmp_path, 8, **joints)
    told = json.loads(file.read_text())
    file.write_text(json.dumps({key: told[key] for key in told if key not in ("AP", "images")}))
    panels = figure1_of(tmp_path).axes
    assert [axes.get_ylabel() for axes in panels] == ["AP (%)"] * 3 + ["PCKh@0.5 (%)"] * 3
    table = reported.mpii_val()
    assert marks(panels[3]) == set(zip(table["params_m"], table["PCKh50"], strict=True))


def test_figure1_shows_latency_as_timed_on_the_device_that_most_models_were(tmp_path, complexity):
    for order in (1, 2, 8):
        write_result(tmp_path, order)
    *_, panel = figure1_of(tmp_path).axes
    assert [text.get_text() for text in panel.texts] == ["not measured"]
    rows = [
        f"eeffpose-p0-order{k},256x192,17,{ms},{device}"
        for k, ms, device in ((1, 2.0, "a GPU,8"), (1, 90.0, "a CPU,1"), (8, 200.0, "a CPU,1"))
    ]
    header = "model,input,num_keypoints,latency_ms,device,threads"
    (tmp_path / "latency.csv").write_text("\n".join([header, *rows]) + "\n")
    *_, panel = figure1_of(tmp_path).axes
    drawn = [tuple(bar.lines[0].get_xydata()[0]) for bar in panel.containers]
    assert drawn == [(90.0, 25.0), (200.0, 25.0)]
    label = " ".join(panel.get_xlabel().split())
    assert label == "latency of one image (ms) on a CPU, 1 thread, at 256x192"


def test_figure1_names_the_runs_that_it_does_not_draw(tmp_path, complexity):
    write_result(tmp_path, 8, boxes="det")
    write_result(tmp_path, 1)
    write_log(tmp_path, 2)
    (legend,) = figure1_of(tmp_path).legends
    assert legend.get_title().get_text() == "Not run, or not in the boxes shown: 1, 2"


def test_figure1_today_shows_every_reported_model_whose_cost_is_known():
    table = reported.since_2022()
    assert table["source"].str.contains("@").all()
    params, gmacs = figure1.today_figure().axes
    for axes, cost in ((params, "params_m"), (gmacs, "gmacs")):
        known = table.dropna(subset=[cost])
        assert set(zip(known[cost], known["ap"], strict=True)) <= marks(axes)


def test_figures_are_the_same_bytes_again(tmp_path):
    write_log(tmp_path, 8)
    for name in ("a", "b"):
        figure8.main([str(tmp_path / "demo"), "--output-dir", str(tmp_path / name)])
    for file in ("figure8.svg", "figure8.png", "figure8.pdf"):
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes()


def test_spread_keeps_the_gap_and_moves_as_little_as_it_can():
    assert np.allclose(style.spread([0.5, 0.1, 0.5], 0.1), [0.45, 0.1, 0.55])
    assert np.allclose(style.spread([1.0, 1.0], 0.1), [0.9, 1.0])


def test_overlays_show_the_easy_the_typical_and_the_worst_and_name_their_images():
    n, k = 40, len(COCO)
    joints = np.random.default_rng(0).uniform(0, 100, (n, k, 2)).astype(np.float32)
    ones, ids = np.ones(n, np.float32), np.arange(n)
    boxes = np.full((n, 2), 0.5, np.float32)
    truth = Samples(COCO, np.array(["a.jpg"]), 0 * ids, ids, ids, boxes, boxes, joints,
                    np.ones((n, k), np.float32), ones)  # fmt: skip
    error = np.random.default_rng(1).permutation(n).astype(np.float32)  # pixels to the right
    points = np.dstack([joints, np.ones((n, k))])
    points[..., 0] += error[:, None]
    predictions = Predictions(ids, ids, points, ones, truth.areas, boxes, boxes)
    chosen = overlays.choose(truth, predictions)
    errors = {kind: [100 * one.error for one in persons] for kind, persons in chosen.items()}
    assert np.allclose(errors["easy"], range(6), atol=1e-4)  # the box's size is 100 pixels
    assert np.allclose(errors["typical"], range(17, 23), atol=1e-4)
    assert np.allclose(errors["worst"], range(34, 40), atol=1e-4)
    text = overlays.caption(truth, chosen, "order 8")
    assert text.startswith("order 8. Rows: the persons with the least error")
    assert f"Worst: images {ids[chosen['worst'][0].own]} (person" in text

    detected = Predictions(ids, ids * 0 - 1, points, ones, truth.areas, boxes, boxes)
    with pytest.raises(PoseError, match="predictions_gt"):
        overlays.choose(truth, detected)
