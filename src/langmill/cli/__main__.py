"""`python -m langmill.cli` is `langmill`."""

from langmill.cli import main

if __name__ == "__main__":
    main()
