"""Several processes: the same training as one, whatever the strategy, and they end together."""

from __future__ import annotations

import contextlib
import os
import pickle
import signal
import socket
import sys
import threading
import time
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from typing import Any

import forked
import pytest
import torch
from safetensors.torch import load_file

from t2icli.ground import runfile
from t2icli.ground.errors import T2IError
from t2icli.pipelines.train import check_hosts
from t2icli.store import models
from t2icli.testing import Runner
from t2icli.training.checkpoint import Run
from t2icli.training.devices import World, is_loss, process_group
from t2icli.training.launch import launch

RUN = ["train", "tiny", "--output", "x", "--report-to", "none", "--resume", "-o", "dropout=0"]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def started(words: list[str], folder: Path, n: int = 2) -> list[ForkServerProcess]:
    """As under torchrun: the same words in n processes that know of each other."""
    told = {"WORLD_SIZE": str(n), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port())}
    return [forked.start(words, folder, {**told, "RANK": str(i), "LOCAL_RANK": str(i)}) for i in range(n)]


def together(words: list[str], folder: Path, n: int = 2) -> list[int | None]:
    processes = started(words, folder, n)
    for process in processes:
        process.join(90)
    return [process.exitcode for process in processes]


def train(data: Path, folder: Path, n: int, *more: str) -> Path:
    folder.mkdir(exist_ok=True)
    codes = together([*RUN, "--train-data", str(data), *more], folder, n)
    assert codes == [0] * n, (folder / "said").read_text()
    return folder / "x/model" / models.WEIGHTS


def check_near(found: Path, expected: Path) -> None:
    tensors, wanted = load_file(found), load_file(expected)
    for name, value in wanted.items():
        assert (tensors[name].float() - value.float()).abs().max() < 1e-5, name


@pytest.fixture(scope="module")
def one(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return train(data, tmp_path_factory.mktemp("one"), 1)


@pytest.mark.parametrize("more", [[], ["--grad-accum", "2"]], ids=["ddp", "accum"])
def test_two_processes_train_as_one(data: Path, tmp_path: Path, one: Path, more: list[str]) -> None:
    check_near(train(data, tmp_path / "two", 2, *more), one)


def test_pieces_of_a_batch_train_as_the_whole(data: Path, tmp_path: Path, one: Path) -> None:
    check_near(train(data, tmp_path / "pieces", 1, "--grad-accum", "4"), one)


SHARDED = ["-o", "judged=no", "--ema", "0.9", "--strategy", "fsdp"]


def test_a_run_is_continued_by_any_number_of_processes_with_or_without_shards(data: Path, tmp_path: Path) -> None:
    whole, folder = train(data, tmp_path / "whole", 1, *SHARDED, "--strategy", "ddp"), tmp_path / "parts"
    for n, step in ((1, 3), (2, 6), (4, 9), (1, 12)):
        found = train(data, folder, n, *SHARDED, "--strategy", "fsdp" if n > 1 else "ddp", "--max-steps", str(step))
        names = {path.name for path in (folder / f"x/checkpoints/step-{step:09d}").iterdir()}
        assert names == {"state.pt"} | ({".metadata", *(f"__{i}_0.distcp" for i in range(n))} if n > 1 else set())
    check_near(found, whole)
    assert (folder / "said").read_text().count("continues from step") == 3


def test_a_checkpoint_of_shards_runs_nothing_that_it_holds(tmp_path: Path) -> None:
    class Harm:
        def __reduce__(self) -> tuple[object, ...]:
            return os.mkdir, (str(tmp_path / "ran"),)

    (place := tmp_path / "checkpoints/step-000000001").mkdir(parents=True)
    (place / ".metadata").write_bytes(pickle.dumps(Harm()))
    (tmp_path / "checkpoints/latest").write_text(place.name)
    with pytest.raises(T2IError, match=r"cannot be read: posix\.mkdir does not belong in a checkpoint"):
        Run(tmp_path).read_shards({"model": {"weight": torch.empty(2)}})
    assert not (tmp_path / "ran").exists()


KILLED = {
    "ddp": ["-o", "dropout=0.1"],
    "fsdp": [*SHARDED, "-o", "dropout=0.1"],
    "background": [*SHARDED, "-o", "dropout=0.1", "-o", "loop.save_in_background=yes"],
}


@pytest.mark.parametrize("more", KILLED.values(), ids=KILLED)
def test_two_processes_that_are_killed_end_with_the_same_bytes(data: Path, tmp_path: Path, more: list[str]) -> None:
    settings = [*more, "-o", "slow=0.01", "--save-every", "1"]
    left_alone = train(data, tmp_path / "alone", 2, *settings)
    (folder := tmp_path / "killed").mkdir()
    processes = started([*RUN, "--train-data", str(data), *settings], folder)
    while all(p.is_alive() for p in processes) and not any((folder / "x/checkpoints").glob("*step-000000005*")):
        time.sleep(0.001)
    for process in processes:
        process.kill()
    for process in processes:
        process.join(60)
    first, second = (process.exitcode for process in processes)
    assert first == -signal.SIGKILL
    assert second in (-signal.SIGKILL, 1)  # it may have ended by itself, without the first
    assert train(data, folder, 2, *settings).read_bytes() == left_alone.read_bytes()


def test_who_outlives_another_process_ends_and_says_what_to_do(data: Path, tmp_path: Path) -> None:
    first, second = started([*RUN, "--train-data", str(data), "-o", "slow=0.05", "--max-steps", "2000"], tmp_path)
    while first.is_alive() and not (tmp_path / "x/checkpoints/latest").exists():
        time.sleep(0.01)
    second.kill()
    first.join(60)
    said = (tmp_path / "said").read_text()
    assert first.exitcode == 1, said
    assert "error: another process of this training ended" in said and "continue with --resume" in said
    assert "bug" not in said and "Traceback" not in said


@pytest.mark.parametrize(
    "message",
    [
        "[/pytorch/third_party/gloo/gloo/transport/tcp/pair.cc:538] Connection closed by peer [10.0.0.2]:2911",
        "Application timeout caused pair closure",
        "Timed out waiting 20000ms for recv operation to complete",
    ],
)
def test_what_is_said_of_a_lost_process_is_told_from_other_errors(message: str) -> None:
    assert is_loss(RuntimeError(message))
    assert not is_loss(RuntimeError("mat1 and mat2 shapes cannot be multiplied"))
    assert not is_loss(OSError(message))


def works_for_long(folder: Path, environment: dict[str, str]) -> None:
    os.environ.update(environment)
    with process_group("cpu", 10) as world:
        world.first(lambda: time.sleep(15))
        (folder / str(world.rank)).touch()


@pytest.mark.slow
def test_the_first_process_may_work_for_longer_than_others_may_be_silent(tmp_path: Path) -> None:
    told = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port())}
    ranks = [{**told, "RANK": str(i)} for i in range(2)]
    processes = [forked.server.Process(target=works_for_long, args=(tmp_path, rank)) for rank in ranks]
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)
    assert {path.name for path in tmp_path.iterdir()} == {"0", "1"}


@pytest.mark.parametrize(
    ("differs", "sees", "says"),
    [
        ({}, True, None),
        ({"torch": "1"}, True, "far has torch 1, and "),
        ({}, False, "far does not see the run's folder"),
    ],
)
def test_a_host_with_another_version_or_without_the_folder_is_named(
    tmp_path: Path, differs: dict[str, str], sees: bool, says: str | None
) -> None:
    class Two(World):
        def gathered(self, mine: Any) -> list[Any]:
            return [mine, ("far", {**mine[1], **differs}, sees)]

    runfile.write(tmp_path, {})
    with pytest.raises(T2IError, match=says) if says else contextlib.nullcontext():
        check_hosts(Two(torch.device("cpu")), tmp_path)


def test_a_batch_that_cannot_be_shared_is_refused(tiny_t2i: Runner, data: Path) -> None:
    tiny_t2i.fails(
        "train", "tiny", "--train-data", data, "--batch-size", 5, "--grad-accum", 2, says="try --batch-size 4"
    )


def test_shards_of_one_process_are_refused(tiny_t2i: Runner, data: Path) -> None:
    tiny_t2i.fails("train", "tiny", "--train-data", data, "--strategy", "fsdp", says="add --devices 2")


def program(tmp_path: Path, text: str) -> list[str]:
    path = tmp_path / "program.py"
    path.write_text(f"import os, sys, time\nrank = int(os.environ['RANK'])\n{text}\n", encoding="utf-8")
    return [str(path)]


def test_launched_processes_know_who_they_are(tmp_path: Path) -> None:
    said = "open(os.environ['WORLD_SIZE'] + str(rank), 'w')"
    launch(program(tmp_path, f"os.chdir({str(tmp_path)!r})\n{said}"), 3)
    assert {path.name for path in tmp_path.iterdir()} >= {"30", "31", "32"}


def test_one_that_fails_ends_the_others_at_once(tmp_path: Path) -> None:
    begun = time.monotonic()
    with pytest.raises(T2IError, match="ended with code 3") as caught:
        launch(program(tmp_path, "sys.exit(3) if rank else time.sleep(60)"), 2)
    assert caught.value.code == 3
    assert time.monotonic() - begun < 30


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1])
def test_a_signal_reaches_every_process_and_130_comes_back(tmp_path: Path, number: int) -> None:
    waits = f"import signal\nsignal.signal({number:d}, lambda *_: sys.exit(130))"
    here = f"open({str(tmp_path)!r} + '/up' + str(rank), 'w')\ntime.sleep(60)"

    def tell() -> None:
        while len(list(tmp_path.glob("up*"))) < 2:
            time.sleep(0.05)
        os.kill(os.getpid(), number)

    threading.Thread(target=tell, daemon=True).start()
    with pytest.raises(KeyboardInterrupt):
        launch(program(tmp_path, f"{waits}\n{here}"), 2)


def test_processes_end_when_their_starter_is_killed(tmp_path: Path) -> None:
    follow = "from t2icli.training.launch import follow_starter\nfollow_starter()"
    words = program(tmp_path, f"{follow}\nopen({str(tmp_path)!r} + '/' + str(os.getpid()), 'w')\ntime.sleep(60)")
    starter = forked.server.Process(target=launch, args=(words, 2))
    starter.start()
    while len(found := [p for p in tmp_path.iterdir() if p.name.isdigit()]) < 2:
        time.sleep(0.05)
    starter.kill()
    starter.join()
    deadline = time.monotonic() + 10
    while any(Path(f"/proc/{p.name}").exists() for p in found) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not any(Path(f"/proc/{p.name}").exists() for p in found)


if sys.platform != "linux":
    pytestmark = pytest.mark.skip(reason="fork server and /proc")
