"""Print one experiment as the JSON that the other commands take: ``python -m pose.experiment``."""

from __future__ import annotations

from typing import Any

from pose.config.datasets import DATASETS
from pose.support import cli
from pose.support.errors import PoseError, command


def command_line() -> cli.Parser:
    """The options."""
    parser = cli.parser("pose.experiment", __doc__)
    parser.add_argument("model", help="a name of config/models.tsv")
    parser.add_argument("--dataset", choices=DATASETS, default="coco")
    parser.add_argument("--input", default="256x192", metavar="HxW")
    parser.add_argument("--protocol", default="released", help="released, controlled or paper")
    parser.add_argument("--recipe", choices=("own", "common"), default="own")
    parser.add_argument("--numerics", choices=("reference", "fast"), help="default: the protocol's")
    parser.add_argument("--seed", type=cli.whole(0, 2**32 - 1), default=0)
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="PART.SETTING=VALUE",
        help="repeatable; docs/settings.md lists them under overrides",
    )
    return parser


cli.answer_early(__name__, command_line)

import yaml

from pose.config import experiment


def overrides(texts: list[str]) -> dict[str, dict[str, Any]]:
    """``["train.epochs=3"]`` as :func:`pose.config.experiment` takes it; values are YAML."""
    parts: dict[str, dict[str, Any]] = {}
    for text in texts:
        key, equals, value = text.partition("=")
        part, dot, name = key.partition(".")
        if not (equals and dot):
            raise PoseError(f"--set {text}: give PART.SETTING=VALUE, such as train.epochs=3")
        try:
            parts.setdefault(part, {})[name] = yaml.safe_load(value)
        except (yaml.YAMLError, ValueError, RecursionError):
            raise PoseError(f"--set {text[:200]}: the value is not valid YAML") from None
    return parts


@command
def main(argv: list[str] | None = None) -> None:
    args = command_line().parse_args(argv)
    try:
        height, width = map(int, args.input.split("x"))
    except ValueError:
        raise PoseError(f"input {args.input!r}: give HEIGHTxWIDTH, such as 256x192") from None
    resolved = experiment(
        args.model,
        args.dataset,
        (height, width),
        args.protocol,
        args.seed,
        overrides(args.set),
        recipe=args.recipe,
        numerics=args.numerics,
    )
    print(resolved.model_dump_json(indent=2))


if __name__ == "__main__":
    main()
