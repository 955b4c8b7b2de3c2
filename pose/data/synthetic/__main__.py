"""Render people and write them as COCO keypoints: ``python -m pose.data.synthetic``."""

from __future__ import annotations

from pose.support import cli
from pose.support.errors import command
from pose.support.files import writing


def command_line() -> cli.Parser:
    """The options."""
    parser = cli.parser("pose.data.synthetic", __doc__)
    parser.add_argument(
        "--output", type=cli.output_folder, required=True, help="folder to write or replace"
    )
    parser.add_argument("--settings", default="{}", help="JSON of SyntheticSettings")
    return parser


cli.answer_early(__name__, command_line)

from pose.config import parse
from pose.data.synthetic.render import write_dataset
from pose.data.synthetic.rendered import SyntheticSettings


@command
def main(argv: list[str] | None = None) -> None:
    arguments = command_line().parse_args(argv)
    settings = parse(SyntheticSettings, arguments.settings, "synthetic settings")
    with writing(arguments.output):
        print(write_dataset(arguments.output, settings))


if __name__ == "__main__":
    main()
