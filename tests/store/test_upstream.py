"""Files of strangers: what is in them survives, what they would do does not happen."""

from __future__ import annotations

import argparse
import builtins
import os
import pickle
from collections import OrderedDict
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from t2icli.ground.errors import T2IError
from t2icli.store import upstream
from t2icli.store.unpickle import Inert

WEIGHTS = OrderedDict(w=torch.arange(6.0).reshape(2, 3), b=torch.ones(2, dtype=torch.bfloat16))


class Callback:
    """Stands for the classes Lightning leaves in its checkpoints."""


class Calls:
    """A pickle of this calls `function(*args)` when a careless reader opens it."""

    def __init__(self, function: Any, *args: Any, state: Any = None) -> None:
        self.call = (function, args) if state is None else (function, args, state)

    def __reduce__(self) -> Any:
        return self.call


def survived(contents: upstream.Contents) -> bool:
    found = contents.tensors("state_dict")
    return all(torch.equal(found[name], value) for name, value in WEIGHTS.items())


@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "legacy"])
def test_a_plain_checkpoint_is_read(tmp_path: Path, zipped: bool) -> None:
    torch.save({"state_dict": WEIGHTS, "epoch": 3}, tmp_path / "a.ckpt", _use_new_zipfile_serialization=zipped)
    contents = upstream.read(tmp_path / "a.ckpt")
    assert survived(contents) and contents.get("epoch") == 3 and contents.stubbed == ()


@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "legacy"])
def test_foreign_objects_are_named_and_the_weights_beside_them_survive(tmp_path: Path, zipped: bool) -> None:
    parameter = torch.nn.Parameter(torch.ones(2))
    extras = {Callback: {"best": 1}, "args": argparse.Namespace(lr=0.1), "param": parameter, "size": torch.Size([2])}
    torch.save({"state_dict": WEIGHTS, **extras}, tmp_path / "a.ckpt", _use_new_zipfile_serialization=zipped)
    with pytest.warns(UserWarning, match=r"argparse\.Namespace"):
        contents = upstream.read(tmp_path / "a.ckpt")
    assert survived(contents)
    assert "argparse.Namespace" in contents.stubbed and any(name.endswith(".Callback") for name in contents.stubbed)
    assert isinstance(contents.get("args"), Inert) and contents.get("args").state == {"lr": 0.1}
    assert torch.equal(contents.get("param"), parameter.detach())


@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "legacy"])
def test_the_tensors_of_a_whole_pickled_module_survive(tmp_path: Path, zipped: bool) -> None:
    module = torch.nn.Linear(2, 3)
    torch.save(module, tmp_path / "a.pt", _use_new_zipfile_serialization=zipped)
    with pytest.warns(UserWarning, match="Linear"):
        contents = upstream.read(tmp_path / "a.pt")
    assert torch.equal(contents.data.state["_parameters"]["weight"], module.weight.detach())


def test_a_whole_module_saved_by_another_version_is_read(tmp_path: Path) -> None:
    module = torch.nn.Linear(2, 3)
    torch.save(module, tmp_path / "a.pt", _use_new_zipfile_serialization=False)
    content = (tmp_path / "a.pt").read_bytes()
    assert b"in_features: size" in content  # the source of its class travels with it
    (tmp_path / "a.pt").write_bytes(content.replace(b"in_features: size", b"in_features: SIZE"))
    with pytest.warns(UserWarning, match="Linear"):
        contents = upstream.read(tmp_path / "a.pt")
    assert torch.equal(contents.data.state["_parameters"]["weight"], module.weight.detach())


def test_a_plain_pickle_with_tensors_is_read(tmp_path: Path) -> None:
    (tmp_path / "a.pkl").write_bytes(pickle.dumps({"state_dict": WEIGHTS, "captions": ["面", "汤"], "raw": b"\xff"}, 2))
    contents = upstream.read(tmp_path / "a.pkl")
    assert survived(contents) and contents.get("captions") == ["面", "汤"] and contents.get("raw") == b"\xff"


def test_safetensors_are_read(tmp_path: Path) -> None:
    save_file(dict(WEIGHTS), tmp_path / "a.safetensors")
    assert torch.equal(upstream.read(tmp_path / "a.safetensors").tensors()["w"], WEIGHTS["w"])


def attacks(target: Path) -> dict[str, Any]:
    """Every way we know to make opening a pickle leave `target` behind."""
    run, code = f"touch {target}", f"open({str(target)!r}, 'w')"
    inner = pickle.dumps(Calls(os.system, run))
    return {
        "os.system": Calls(os.system, run),
        "eval": Calls(builtins.eval, code),
        "exec": Calls(builtins.exec, code),
        "open": Calls(open, str(target), "w"),
        "getattr": Calls(getattr, os, "system"),
        "nested": Calls(list, [Calls(dict, [(1, Calls(os.system, run))])]),
        "loads": Calls(pickle.loads, inner),
        "storage": Calls(torch.storage._load_from_bytes, inner),
        "torch.load": Calls(torch.load, str(target)),
        "setstate": Calls(Callback, state={"__setstate__": Calls(os.system, run), "__call__": Calls(os.system, run)}),
        "slots": Calls(Callback, state=(None, {"x": Calls(os.system, run)})),
        "tensor": Calls(torch._utils._rebuild_tensor_v2, Calls(os.system, run), 0, (1,), (1,), False, OrderedDict()),
        "subclass": Calls(torch._tensor._rebuild_from_type_v2, os.system, torch.Tensor, (run,), {}),
        "codec": Calls(__import__("_codecs").encode, code, "rot13"),
    }


REFUSED = {"tensor"}
"""The others open, with the attack as a lifeless object beside the weights."""


@pytest.mark.parametrize("kind", ["pickle", "zip", "legacy"])
@pytest.mark.parametrize("attack", sorted(attacks(Path("x"))))
@pytest.mark.filterwarnings("ignore:.*foreign classes")
def test_opening_a_malicious_file_runs_nothing(tmp_path: Path, attack: str, kind: str) -> None:
    target, path = tmp_path / "ran", tmp_path / "evil.pt"
    data = {"state_dict": WEIGHTS, "evil": _without_modules(attacks(target)[attack])}
    if kind == "pickle":
        path.write_bytes(pickle.dumps(data))
    else:
        torch.save(data, path, _use_new_zipfile_serialization=kind == "zip")
    if attack in REFUSED:
        with pytest.raises(T2IError, match="damaged"):
            upstream.read(path)
    else:
        assert survived(upstream.read(path))
    assert not target.exists()


def _without_modules(attack: Calls) -> Calls:
    """`os` itself cannot be pickled: an attacker would import it by name."""
    function, args, *rest = attack.call
    return Calls(function, *[Calls(__import__, "os") if arg is os else arg for arg in args], state=(rest or [None])[0])


def test_a_file_cannot_change_the_functions_it_is_given(tmp_path: Path) -> None:
    program = b"\x80\x02ctorch._utils\n_rebuild_tensor_v2\n}X\x03\x00\x00\x00barK\x01sb."
    (tmp_path / "evil.pkl").write_bytes(program)
    with pytest.raises(T2IError, match="change a function"):
        upstream.read(tmp_path / "evil.pkl")
    assert not hasattr(torch._utils._rebuild_tensor_v2, "bar")


@pytest.mark.parametrize("keep", [0.2, 0.6, 0.95])
@pytest.mark.parametrize("kind", ["zip", "legacy", "pickle", "safetensors"])
def test_a_file_cut_short_is_an_error_with_the_reason(tmp_path: Path, kind: str, keep: float) -> None:
    path = tmp_path / "a.pt"
    if kind == "safetensors":
        save_file(dict(WEIGHTS), path)
    elif kind == "pickle":
        path.write_bytes(pickle.dumps(dict(WEIGHTS)))
    else:
        torch.save(dict(WEIGHTS), path, _use_new_zipfile_serialization=kind == "zip")
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * keep)])
    with pytest.raises(T2IError, match="damaged or truncated") as caught:
        upstream.read(path)
    assert caught.value.code == 1


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "is empty"),
        (b"<!DOCTYPE html><title>Sign in</title>", "web page"),
        (b"version https://git-lfs.github.com/spec/v1\n", "Git LFS"),
        (b"just words", "not a weights file"),
        (b"PK\x03\x04nonsense", "damaged"),
    ],
)
def test_what_is_not_weights_is_said_to_be_what_it_is(tmp_path: Path, content: bytes, reason: str) -> None:
    (tmp_path / "a.pt").write_bytes(content)
    with pytest.raises(T2IError, match=reason) as caught:
        upstream.read(tmp_path / "a.pt")
    assert caught.value.code == 1


def test_a_torchscript_program_is_refused(tmp_path: Path) -> None:
    with pytest.warns((DeprecationWarning, FutureWarning)):
        torch.jit.script(torch.nn.Linear(1, 1)).save(str(tmp_path / "a.pt"))
    with pytest.raises(T2IError, match="TorchScript"):
        upstream.read(tmp_path / "a.pt")


def test_a_missing_file_and_a_missing_entry_are_named(tmp_path: Path) -> None:
    with pytest.raises(T2IError, match=r"cannot read .*nowhere"):
        upstream.read(tmp_path / "nowhere.pt")
    torch.save({"weigths": dict(WEIGHTS), "epoch": 1}, tmp_path / "a.pt")
    contents = upstream.read(tmp_path / "a.pt")
    with pytest.raises(T2IError, match="no 'weights'") as caught:
        contents.get("weights")
    assert caught.value.hint == "did you mean 'weigths'?"
    for key in ("weights", "epoch"):
        with pytest.raises(T2IError, match="holds no weights"):
            contents.tensors(key)
