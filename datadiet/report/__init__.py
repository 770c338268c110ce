"""Small drawings, tables and one-file HTML pages, made from plain numbers and arrays.

Nothing here knows what a score or a training run is; callers pass the numbers:

- `datadiet.report.svg`: line charts and score histograms
- `datadiet.report.images`: grids of examples
- `datadiet.report.tables`: the same rows as HTML or as plain text
- `datadiet.report.page`: the page that holds them, with its provenance
"""
