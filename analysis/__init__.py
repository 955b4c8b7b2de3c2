"""Tables and figures: from result files to what a paper prints. Nothing here runs a model."""

from importlib import import_module

__all__ = ["load_costs", "load_curves", "load_latencies", "load_persons", "load_reported"]
__all__ += ["load_results"]


def __getattr__(name: str) -> object:
    """Import what needs pandas on first use, so that commands answer --help at once."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module("analysis.results"), name)
