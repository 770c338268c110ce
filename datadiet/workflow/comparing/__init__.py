"""compare: methods beside full data and random choice; demo: such a comparison on bundled images."""
