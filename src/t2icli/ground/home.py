"""The folder of everything that `t2i` keeps for a user."""

from __future__ import annotations

import os
from pathlib import Path


def home() -> Path:
    """Where models and defaults are kept: `$T2I_HOME`, else the platform's folder for user data."""
    if chosen := os.environ.get("T2I_HOME"):
        return Path(chosen).expanduser()
    import platformdirs

    return platformdirs.user_data_path("t2icli", appauthor=False)
