"""`python -m sandbox`: the stand-in ContaDigital as a process of its own."""

from __future__ import annotations

from sandbox.server import main

if __name__ == "__main__":
    main()
