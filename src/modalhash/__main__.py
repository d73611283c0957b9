"""`python -m modalhash` does what `modalhash` does."""

from modalhash.cli.main import main

if __name__ == "__main__":
    main()
