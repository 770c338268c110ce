"""train, embed and export: what fits networks, or uses fitted ones."""
