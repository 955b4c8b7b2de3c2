"""Tables and figures: from result files to what a paper prints. Nothing here runs a model."""
