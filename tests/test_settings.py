from __future__ import annotations

import msgspec

from t2icli import settings
from t2icli.sampling import TopK


class Struct(msgspec.Struct, frozen=True):
    top_k: TopK | None = None


def test_a_setting_that_may_be_none_keeps_its_line_of_help() -> None:
    assert settings.describe(Struct) == [
        settings.Field("top_k", "int | none", "none", "draw from this many of the likeliest only")
    ]
