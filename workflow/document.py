"""Writes what a config may say, from the typed settings: ``python -m workflow.document [--check]``.

docs/settings.md is for people, workflow/schemas/config.schema.json for editors. ``--check`` writes
nothing and fails when one of them is not up to date.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any, get_args

from pose.config import Experiment, Protocol, experiment
from pose.data.synthetic.rendered import SyntheticSettings
from pose.support.errors import PoseError, command
from workflow.settings import OF_THE_WHOLE, PARTS, Config

ROOT = Path(__file__).parent.parent
MODEL, DATASET, SIZE = "eeffpose-p0-order8", "coco", (256, 192)
Schema = dict[str, Any]
DEFAULT = {"synthetic": "below"}
INTRODUCTION = """# Settings

Made by `python -m workflow.document` from `workflow/settings.py` and `pose/config/`.

A config is a YAML file of the keys below. `--config KEY=VALUE` on Snakemake's command line wins
over it. The list `runs` holds blocks of the same keys, which win over those beside it, except for
{of_the_whole}. An unknown key is refused, with the nearest known one.
"""
OVERRIDES = """## `overrides`

Single settings of an experiment; the protocol, the model's recipe and `numerics` give the others.
The columns of the protocols are for {model} on {dataset} at {size}; other models' recipes are in
[protocols.md](protocols.md). A setting on which the protocols agree has one value.
"""


def settings_page() -> str:
    """docs/settings.md."""
    of_the_whole = ", ".join(f"`{key}`" for key in OF_THE_WHOLE)
    config, people = Config.model_json_schema(), SyntheticSettings.model_json_schema()
    protocols = {name: _experiment(name) for name in get_args(Protocol)}
    size = "{}x{}".format(*SIZE)
    return "\n".join(
        [
            INTRODUCTION.format(of_the_whole=of_the_whole),
            *_table(config, ("key", "meaning", "values", "default"), _defaults(config)),
            "\n## `synthetic`\n",
            *_table(people, ("key", "meaning", "values", "default"), _defaults(people)),
            f"\n{OVERRIDES.format(model=MODEL, dataset=DATASET, size=size)}",
            *(line for part in PARTS for line in _part(part, protocols)),
        ]
    )


def editor_schema() -> Schema:
    """A JSON schema of a config file, by which editors complete and check keys."""
    schema, parts = Config.model_json_schema(), Experiment.model_json_schema()
    schema.pop("required")
    keys = schema["properties"]
    blocks = {key: value for key, value in keys.items() if key not in OF_THE_WHOLE}
    overridden = {part: parts["properties"][part] for part in PARTS}
    keys["overrides"] |= {"properties": overridden, "additionalProperties": False}
    block = {"type": "object", "additionalProperties": False, "properties": blocks}
    keys["runs"] = {"type": "array", "minItems": 1, "items": block}
    schema["$defs"] |= {name: _partial(part) for name, part in parts["$defs"].items()}
    return {"$schema": "https://json-schema.org/draft/2020-12/schema"} | schema


def _experiment(protocol: str) -> Experiment:
    return experiment(MODEL, DATASET, SIZE, protocol)


def _partial(schema: Any) -> Any:
    """``schema`` with all keys optional, as what overrides others need not name them all."""
    if isinstance(schema, list):
        return [_partial(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    kept = {key: _partial(value) for key, value in schema.items() if key != "required"}
    kept.pop("discriminator", None)
    return {"anyOf" if key == "oneOf" else key: value for key, value in kept.items()}


def _part(part: str, protocols: dict[str, Experiment]) -> list[str]:
    """The section of one part of an experiment, and of its inner settings objects."""
    schema = Experiment.model_json_schema()
    own = schema["$defs"][schema["properties"][part]["$ref"].rpartition("/")[2]]
    values = [getattr(one, part).model_dump(mode="json") for one in protocols.values()]
    shown = {key: [_agreed([value[key] for value in values])] for key in own["properties"]}
    heading = ("key", "meaning", "values", " / ".join(protocols))
    lines = [f"\n### `{part}`\n", f"{_prose(own['description'])}\n", *_table(own, heading, shown)]
    for key, field in own["properties"].items():
        for reference in (item["$ref"] for item in field.get("oneOf", ())):
            inner = schema["$defs"][reference.rpartition("/")[2]]
            name = inner["properties"].pop("name")["const"]
            lines.append(f"\n`{part}.{key}` of the name `{name}`: {_prose(inner['description'])}\n")
            lines += _table(inner, ("key", "meaning", "values"), {})
    return lines


def _agreed(values: Iterable[Any]) -> str:
    texts = [_code(value) for value in values]
    return texts[0] if len(set(texts)) == 1 else " / ".join(texts)


def _defaults(schema: Schema) -> dict[str, list[str]]:
    """Of each key: its default, or that it has to be given."""
    required = schema.get("required", [])
    return {
        key: ["required" if key in required else DEFAULT.get(key) or _code(field.get("default"))]
        for key, field in schema["properties"].items()
    }


def _table(schema: Schema, heading: tuple[str, ...], more: dict[str, list[str]]) -> list[str]:
    rows = [heading, ("---",) * len(heading)]
    for key, field in schema["properties"].items():
        about = (_prose(field.get("description", "")), _values(field))
        rows.append((f"`{key}`", *about, *more.get(key, [])))
    return [f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in row)} |" for row in rows]


def _values(field: Schema) -> str:
    """What a key takes: a type and its range, or the choices."""
    if "$ref" in field or field.get("type") == "object":
        return "mapping"
    if "oneOf" in field:
        return "mapping with a `name`"
    if "anyOf" in field:
        return " or ".join(_values(choice) for choice in field["anyOf"])
    if "enum" in field:
        return ", ".join(_code(choice) for choice in field["enum"])
    if field["type"] == "array":
        if "prefixItems" in field:
            return f"list of {len(field['prefixItems'])}: {_values(field['prefixItems'][0])}"
        return f"list: {_values(field['items'])}"
    limits = [
        f"{sign} {field[name]}"
        for name, sign in (
            ("exclusiveMinimum", ">"),
            ("minimum", ">="),
            ("exclusiveMaximum", "<"),
            ("maximum", "<="),
        )
        if name in field
    ]
    return " ".join([field["type"], ", ".join(limits)]).strip()


def _code(value: Any) -> str:
    return f"`{json.dumps(value)}`" if not isinstance(value, str) else f"`{value}`"


def _prose(text: str) -> str:
    """A docstring as Markdown, in one line."""
    plain = text.replace("``", "`").replace(":mod:", "").replace(":func:", "")
    return " ".join(plain.split())


def write_or_check(pages: dict[Path, str], remake: str, arguments: list[str] | None) -> None:
    """Write generated pages, or with ``--check`` among the arguments only compare them.

    ``remake`` is the command that writes them. PoseError for a page that is not as it should be.
    """
    parser = argparse.ArgumentParser(
        prog=remake, description=f"Write {', '.join(path.name for path in pages)}."
    )
    parser.add_argument("--check", action="store_true", help="only say whether all is up to date")
    check = parser.parse_args(arguments).check
    for path, content in pages.items():
        if not check:
            path.parent.mkdir(exist_ok=True)
            path.write_text(content)
        elif not path.exists() or path.read_text() != content:
            raise PoseError(f"{path.name} is stale; run {remake}")


@command
def main(arguments: list[str] | None = None) -> None:
    pages = {
        ROOT / "docs/settings.md": settings_page() + "\n",
        ROOT / "workflow/schemas/config.schema.json": json.dumps(editor_schema(), indent=1) + "\n",
    }
    write_or_check(pages, "python -m workflow.document", arguments)


if __name__ == "__main__":
    main()
