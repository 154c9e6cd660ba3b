"""`python -m worker` is the `timbrado` command."""

from worker.cli import main

if __name__ == "__main__":
    main()
