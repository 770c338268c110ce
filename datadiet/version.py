"""The version, in its own file so that it can be read without the rest of the package."""

__version__ = "0.2.0"
