"""`python -m datadiet`."""

from datadiet.cli import main

if __name__ == "__main__":
    main()
