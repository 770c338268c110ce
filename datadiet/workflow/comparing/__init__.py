"""demo: an honest comparison, and its page."""
