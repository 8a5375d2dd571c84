"""`python -m t2icli` is `t2i`."""

from __future__ import annotations

from t2icli.cli import main

if __name__ == "__main__":
    main()
