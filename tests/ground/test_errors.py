from __future__ import annotations

from t2icli.ground.errors import T2IError, did_you_mean


def test_the_nearest_word_is_named() -> None:
    assert did_you_mean("brvl", ["brivl", "clip"]) == "did you mean 'brivl'?"


def test_case_and_dashes_do_not_hide_a_word() -> None:
    assert did_you_mean("CLIP", ["brivl", "clip"]) == "did you mean 'clip'?"
    assert did_you_mean("Top-K", ["top_k", "top_p"]) == "did you mean 'top_k'?"


def test_without_a_near_word_all_are_listed_in_order() -> None:
    assert did_you_mean("zzz", ["clip", "brivl", "clip"]) == "known: brivl, clip"


def test_a_long_list_is_cut() -> None:
    hint = did_you_mean("zzz", [f"name-{i:03}" for i in range(100)])
    assert hint is not None and len(hint) < 400 and hint.endswith("... and 80 more")


def test_nothing_known_means_no_hint() -> None:
    assert did_you_mean("x", []) is None


def test_an_error_is_the_users_unless_said_otherwise() -> None:
    assert (T2IError("wrong").code, T2IError("wrong").hint) == (2, None)
