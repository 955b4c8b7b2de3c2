"""Tables and figures: from result files to what a paper prints. Nothing here runs a model."""

from analysis.results import load_costs, load_curves, load_persons, load_reported, load_results

__all__ = ["load_costs", "load_curves", "load_persons", "load_reported", "load_results"]
