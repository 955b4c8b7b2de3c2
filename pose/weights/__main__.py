"""``python -m pose.weights``: list, fetch and convert published weights."""

from __future__ import annotations

import csv
import io

from pose import weights
from pose.config import read_experiment
from pose.support import cli
from pose.support.errors import command
from pose.support.files import write_file
from pose.weights.download import cached_path


@command
def main(argv: list[str] | None = None) -> None:
    parser = cli.parser("pose.weights", __doc__)
    actions = parser.add_subparsers(dest="action", required=True)
    actions.add_parser("list", help="names, models and whether each file is in the cache")
    fetching = actions.add_parser("fetch", help="download and verify; prints each path")
    fetching.add_argument(
        "names", nargs="+", metavar="NAME", help="a name of the list, or 'all' that can be"
    )
    initial = actions.add_parser("initial", help="fetch what a training starts from")
    initial.add_argument("--experiment", required=True, help="JSON text or file")
    converting = actions.add_parser("convert", help="write a checkpoint as pose.infer reads it")
    converting.add_argument("--name", required=True, help="a name of the list")
    converting.add_argument(
        "--output", required=True, type=cli.output_file(), metavar="FILE.safetensors"
    )
    obtaining = actions.add_parser("obtain", help="fetch and load each, and list what fails")
    obtaining.add_argument("names", nargs="+", metavar="NAME")
    obtaining.add_argument("--output", required=True, type=cli.output_file(), metavar="FILE.csv")
    args = parser.parse_args(argv)

    if args.action == "list":
        for name, file in weights.catalogue().items():
            missing = "by hand" if file.by_hand else "not fetched"
            state = "cached" if cached_path(name).exists() else missing
            print(f"{name:37} {file.model:20} {file.dataset:15} {file.input:8} {state}")
    elif args.action == "fetch":
        fetchable = [name for name, file in weights.catalogue().items() if not file.by_hand]
        names = fetchable if args.names == ["all"] else args.names
        for name in names:
            print(weights.fetch(name))
    elif args.action == "initial":
        for path in weights.fetch_initial(read_experiment(args.experiment)):
            print(path)
    elif args.action == "obtain":
        table = io.StringIO()
        rows = csv.writer(table, lineterminator="\n")
        rows.writerow(["name", "problem"])
        for name in args.names:
            problem = weights.problem(name)
            rows.writerow([name, problem])
            print(f"{name}: {problem or 'obtained'}", flush=True)
        write_file(args.output, table.getvalue())
    else:
        weights.convert(args.name, args.output)


if __name__ == "__main__":
    main()
