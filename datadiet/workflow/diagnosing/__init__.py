"""doctor: what is installed here, and what the machine offers."""
