"""select and inspect: from scores, vectors or texts and a budget to a selection. No torch at import."""
