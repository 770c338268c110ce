"""report: what a run, a score file, a selection or a comparison says, on one page."""
