"""`python -m cli` is the `timbrado` command."""

from cli import main

if __name__ == "__main__":
    main()
