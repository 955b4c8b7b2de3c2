"""What the benchmark costs in time: ``python -m pose.bench``.

Each file measures one thing, variants in turn, and gives a table of rows.
"""
