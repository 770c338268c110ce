"""score and rescore: from data and a model to signals, and from signals to score columns."""
