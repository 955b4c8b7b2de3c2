"""Where the rules of obtain.smk put the data."""


def obtained_root(dataset):
    """Where the config's first run on a data set looks for it."""
    roots = [run["data_root"] for run in RUNS.values() if run["dataset"] == dataset]
    return Path(roots[0] if roots else f"data/{dataset}")
