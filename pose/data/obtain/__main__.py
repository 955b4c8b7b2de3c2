"""Obtain COCO or MPII: ``python -m pose.data.obtain coco --root data/coco``.

Fetches what is missing, several files at a time; call it again to go on after an interruption.
Every file is checked against the published checksum; SHA256SUMS at the root notes what came.
"""

from __future__ import annotations

from pathlib import Path

from pose.data.obtain.sources import DEFAULT_PARTS, parts_of
from pose.support import cli
from pose.support.errors import command


def command_line() -> cli.Parser:
    """The options."""
    parser = cli.parser("pose.data.obtain", __doc__)
    parser.add_argument("dataset", choices=DEFAULT_PARTS)
    parser.add_argument("--root", type=Path, help="folder; default: data/DATASET")
    parser.add_argument(
        "--parts",
        nargs="+",
        metavar="PART",
        help="; ".join(
            f"{dataset}: {', '.join(parts_of(dataset))} (default: {', '.join(default)})"
            for dataset, default in DEFAULT_PARTS.items()
        ),
    )
    parser.add_argument("--connections", type=cli.whole(1, 1000), default=4, help="files at a time")
    parser.add_argument("--unpack", action="store_true", help="unpack the zip archives of images")
    return parser


cli.answer_early(__name__, command_line)

from pose.data.obtain.fetch import obtain


@command
def main(argv: list[str] | None = None) -> None:
    args = command_line().parse_args(argv)

    root = args.root or Path("data", args.dataset)
    parts = args.parts or DEFAULT_PARTS[args.dataset]
    obtain(args.dataset, root, parts, args.connections, args.unpack)
    print(f"{root}: {', '.join(parts)} there; python -m pose.data.verify {args.dataset} checks it")


if __name__ == "__main__":
    main()
