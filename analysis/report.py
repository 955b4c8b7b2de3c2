"""Write all results of a folder as one page that opens from disk: ``python -m analysis.report``.

The page stands alone and asks for nothing over the network. What is not there is called "not run".
"""

from __future__ import annotations

import base64
import io
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

from pose.config.model_sheet import FILE, read_sheet
from pose.support import cli
from pose.support.errors import command
from pose.support.files import read_text, write_file

FOLDER = Path(__file__).parent / "page"
CAPTIONS = Path(__file__).parents[1] / "workflow" / "report"


def command_line() -> cli.Parser:
    """The options."""
    parser = cli.parser("analysis.report", __doc__)
    parser.add_argument("place", type=Path, help="results/NAME, or its config")
    parser.add_argument(
        "--output", type=cli.output_file(".html"), help="default: report.html of the results folder"
    )
    parser.add_argument("--models", type=Path, default=FILE, help="default: config/models.tsv")
    parser.add_argument(
        "--options",
        help="of Snakemake, for the commands that make the numbers again; default: the config's",
    )
    return parser


cli.answer_early(__name__, command_line)

from jinja2 import Environment
from markupsafe import Markup
from PIL import Image

from analysis import report_text
from analysis.report_tables import (
    Table,
    costs_table,
    label,
    read_numbers,
    read_table,
    results_table,
    steps_table,
)
from analysis.results import load_costs, load_results, place_of

TEMPLATE, STYLE, SCRIPT = "page.html", "page.css", "page.js"
NUMBERED = tuple(f"table{number}" for number in "1234")
SECTIONS = {
    "Results": (("results",), ("figure1", "figure1_today")),
    "The paper's tables": (NUMBERED, ()),
    "Effects": (("effects", "effects_by_group"), ("effects",)),
    "Claims": (("claims",), ()),
    "Errors": (("errors",), ("errors",)),
    "Controls": (("controls", "audit"), ()),
    "Quality": (("quality",), ()),
    "Cost": (("costs", "complexity", "steps"), ("training",)),
    "Published checkpoints": (("published", "released"), ()),
    "Figures": (
        (),
        ("figure8", "figure9", *(f"figure{n}" for n in "234567"), "samples_*", "overlays_*"),
    ),
}
"""Section -> its tables and figures, by the names of their files."""
CAPTION_OF = {"figure2": "architecture", "figure3": "architecture", "figure4": "architecture"}
CAPTION_OF |= {"figure5": "architecture", "figure6": "overlays", "figure7": "overlays"}
CAPTION_OF |= {"figure1_today": "figure1_today"}
"""Figure -> its caption, where that is not called as the figure up to its first "_"."""
LARGEST = 400_000
"""Bytes of an SVG that is shown as it is; of a larger one its PNG is."""
WIDEST, WEBP_QUALITY = 1600, 80


@dataclass(frozen=True)
class Figure:
    """A figure as the content of a data URI, with what it shows."""

    name: str
    caption: str
    source: str


def read_figures(folder: Path, pattern: str) -> list[Figure]:
    """The figures of a folder whose name fits the pattern, each once."""
    names = {file.stem for kind in ("svg", "png") for file in folder.glob(f"{pattern}.{kind}")}
    return [_figure(folder, name) for name in sorted(names)]


def _figure(folder: Path, name: str) -> Figure:
    svg, png, text = (folder / f"{name}.{kind}" for kind in ("svg", "png", "txt"))
    caption = CAPTIONS / f"{CAPTION_OF.get(name, name.partition('_')[0])}.rst"
    told = [read_text(caption).split("\n\n")[0]] if caption.exists() else []
    told += [read_text(text)] if text.exists() else []
    if svg.exists() and (svg.stat().st_size < LARGEST or not png.exists()):
        content, kind = svg.read_bytes(), "svg+xml"
    else:
        content, kind = _webp(png), "webp"
    source = f"data:image/{kind};base64,{base64.b64encode(content).decode()}"
    return Figure(name, " ".join(" ".join(told).split()), source)


def _webp(file: Path) -> bytes:
    """A picture, small enough for a page of many."""
    with Image.open(file) as image:
        image = image.convert("RGB")
        image.thumbnail((WIDEST, 10 * WIDEST))
        image.save(content := io.BytesIO(), "WEBP", quality=WEBP_QUALITY)
    return content.getvalue()


def page(folder: Path, options: str, models: Path = FILE) -> str:
    """The report of a results folder; ``options`` are Snakemake's.

    Raises PoseError for a folder without any run, and for a damaged file.
    """
    results = load_results(folder, models=models)
    numbers = {
        name: read_numbers(folder / "tables" / f"{name}.csv")
        for tables, _ in SECTIONS.values()
        for name in tables
    }
    costs = load_costs(folder)
    own: dict[str, Table | None] = {
        "results": results_table(results),
        "costs": costs_table(costs, results) if len(costs) else None,
        "steps": steps_table(folder / "benchmarks", results),
    }
    sections, missing = [], []
    for title, (names, patterns) in SECTIONS.items():
        found = {
            name: own[name] if name in own else read_table(folder / "tables", name, results)
            for name in names
        }
        figures = [one for name in patterns for one in read_figures(folder / "figures", name)]
        missing += [name for name, table in found.items() if table is None]
        sections.append((title, found, figures))
    words = {
        "What was run": report_text.what_was_run(results),
        "What was found": report_text.what_was_found(results, numbers),
        "What was not run": report_text.what_was_not_run(
            results, numbers, missing, read_sheet(models)
        ),
    }
    runs = [(label(row), report_text.provenance(row, options)) for _, row in results.iterrows()]
    bundle = files("itables") / "html"
    environment = Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True)
    return environment.from_string(read_text(FOLDER / TEMPLATE)).render(
        name=folder.resolve().name,
        words={title: list(sentences) for title, sentences in words.items()},
        sections=sections,
        runs=runs,
        style=Markup((bundle / "dt_bundle.css").read_text("utf-8") + read_text(FOLDER / STYLE)),
        script=Markup(read_text(FOLDER / SCRIPT)),
        bundle=(bundle / "dt_bundle.js").read_text("utf-8"),
        safe=Markup,
        uri=lambda text: base64.b64encode(text.encode()).decode(),
    )


def options_of(place: Path, folder: Path) -> str:
    """The options by which Snakemake makes the results of a place again."""
    config = place if place.suffix in (".yaml", ".yml") else Path("config", f"{folder.name}.yaml")
    return "--cores all" + (f" --configfile {config}" if config.exists() else "")


@command
def main(arguments: list[str] | None = None) -> None:
    options = command_line().parse_args(arguments)

    folder = place_of(options.place)
    output = options.output or folder / "report.html"
    how = options.options or options_of(options.place, folder)
    write_file(output, page(folder, how, options.models))
    print(f"Report    {output}")


if __name__ == "__main__":
    main()
