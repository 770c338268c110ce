"""plan: what selecting or scoring will cost."""
