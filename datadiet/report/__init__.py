"""Small drawings, tables and one-file HTML pages, made from plain numbers and arrays.

Nothing here knows what a score or a training run is; callers pass the numbers:

- `datadiet.report.svg`: line charts and score histograms
- `datadiet.report.images`: thumbnails and grids of examples
- `datadiet.report.matrix`: methods by budgets, as an HTML table
- `datadiet.report.tables`: rows as plain text
- `datadiet.report.palette`: how the line of a method looks, in charts and tables alike
- `datadiet.report.page`: the page that holds them, with its provenance
"""
