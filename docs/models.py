"""Writes ``models.md`` from the sheet, the families and the list of published files.

``python docs/models.py [--check]``. What a family does otherwise than its source is told in
``baselines.md``, under a heading of the family's name, to which the models' rows point.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

from pose.config.model_sheet import model_sheet, reconstructions
from pose.models import family_of
from pose.support.errors import command
from pose.weights import catalogue
from workflow.document import write_or_check

FILE = Path(__file__).with_suffix(".md")
NOTES = Path(__file__).with_name("baselines.md")

REPOSITORY = r"(\S+/\S+) ([0-9a-f]{7})\b"  # on GitHub, and its commit
COLUMNS = ("architecture", "multiple", "recipe", "options")
"""Those of the sheet that are shown as they are."""

INTRODUCTION = """# Models

Made by `python docs/models.py`; do not edit. `config/models.tsv` is the sheet, a module of
`pose/models/` each family; [a further model](../CONTRIBUTING.md#add-a-model) is three files.

"Equal in" says what the tests compare with the family's source:

* **counts**: the parameters, exactly, and fvcore's multiply-adds, within 0.1 %.
* **statistics**: the counts, and of the heat maps under the same weights the mean, deviation and
  largest value, within 0.1 %.
* **heat maps**: the counts, and every heat map under the same weights, within 1e-4 of their
  standard deviation.
* **reconstruction**: there is no code to compare with. **-**: the model itself is not compared.

Both sides of an input are multiples of `multiple`. Weights: how many files are published, and
their licences ([how to get them](weights.md)).
"""


def document() -> str:
    """The text of ``models.md``."""
    families = {row["family"]: family_of(model) for model, row in model_sheet().items()}
    sources = [("family", "source", "licence", "cite")]
    for name, family in families.items():
        key = re.match(r"@\w+{(\w+),", family.bibtex)[1]
        source = re.sub(REPOSITORY, r"[\g<0>](https://github.com/\1/tree/\2)", family.source)
        sources.append((name, source, family.licence, f"`{key}`"))
    return "\n".join(
        [
            INTRODUCTION,
            *_table([("model", "family", "equal in", *COLUMNS, "weights"), *_models()]),
            "\n## Sources\n",
            *_table(sources),
            "\n```bibtex",
            *(family.bibtex for family in families.values()),
            "```\n",
        ]
    )


def _models() -> Iterator[tuple[str, ...]]:
    """A row a model."""
    sheet, anchors = model_sheet(), _anchors(NOTES.read_text())
    rebuilt = reconstructions(sheet)
    for model, row in sheet.items():
        family = row["family"]
        shown = f"[{family}]({anchors[family]})" if family in anchors else family
        parity = family_of(model).parity.get(model, "-")
        parity = "reconstruction" if model in rebuilt else parity
        columns = (row[column] or "-" for column in COLUMNS)
        yield f"`{model}`", shown, parity, *columns, _published(model)


def _anchors(notes: str) -> dict[str, str]:
    """Family -> where the notes are about it."""
    headings = re.findall(r"^## (.+)$", notes.lower(), re.MULTILINE)
    return {heading.replace("-", ""): f"{NOTES.name}#{heading}" for heading in headings}


def _published(model: str) -> str:
    licences = [file.licence for file in catalogue().values() if file.model == model]
    return f"{len(licences)} ({', '.join(dict.fromkeys(licences))})" if licences else "-"


def _table(rows: list[tuple[str, ...]]) -> list[str]:
    heading, *body = rows
    return [f"| {' | '.join(row)} |" for row in (heading, ("---",) * len(heading), *body)]


@command
def main(argv: list[str] | None = None) -> None:
    write_or_check({FILE: document()}, "python docs/models.py", argv)


if __name__ == "__main__":
    main()
