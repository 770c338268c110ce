"""Small drawings, tables and one-file HTML pages, made from plain numbers and arrays.

Nothing here knows what a score or a training run is; callers pass the numbers:

- `datadiet.report.svg`, `bars`, `density`, `intervals`: line charts, histograms, score against score, limits of losses
- `datadiet.report.images`: thumbnails and excerpts of examples in grids
- `datadiet.report.matrix`: methods by budgets, as an HTML table
- `datadiet.report.tables`: rows as plain text or HTML
- `datadiet.report.palette`: how the line of a method looks, in charts and tables alike
- `datadiet.report.page`: the page that holds them, with its provenance
"""
