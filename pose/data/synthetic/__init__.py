"""Rendered people with exact annotations: ``python -m pose.data.synthetic``."""
