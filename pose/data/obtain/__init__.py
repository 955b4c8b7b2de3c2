"""Obtaining a data set: ``python -m pose.data.obtain``."""
