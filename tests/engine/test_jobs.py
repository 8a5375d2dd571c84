from __future__ import annotations

import pickle
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from t2icli.engine import query
from t2icli.engine.cluster import run_on_ray
from t2icli.engine.jobs import begin
from t2icli.engine.query import Lost, Query, check_address, check_answer, check_room, connect, patient, room
from t2icli.engine.run import Ray, run
from t2icli.engine.worker import BEGUN, CHUNKS, TRIES, ClusterWorker, Given, versions
from t2icli.ground.errors import T2IError

sys.path.insert(0, str(Path(__file__).parent))
from jobs_to_do import job, loads, shards

EXPECTED = {f"{number:06d}.txt": f"{number} {number**2}\n" for number in range(6)}


def test_every_chunk_becomes_a_shard_and_models_are_loaded_once(tmp_path: Path) -> None:
    done: list[int] = []
    assert run(job(tmp_path / "out"), done=done.append) == 6
    assert shards(tmp_path / "out") == EXPECTED
    assert done == [1] * 6 and len(loads(tmp_path / "out")) == 1


def test_a_second_run_makes_the_missing_shards_alone_and_loads_nothing_where_none_is(tmp_path: Path) -> None:
    out = tmp_path / "out"
    run(job(out))
    (out / "shards/000003.txt").unlink()
    (out / "shards/000004.txt").write_text("kept")
    done: list[int] = []
    assert run(job(out), done=done.append) == 6
    assert done == [1] * 6
    assert shards(out) == EXPECTED | {"000004.txt": "kept"}
    run(job(out))
    assert len(loads(out)) == 2


def test_other_settings_are_refused_by_name(tmp_path: Path) -> None:
    run(job(tmp_path / "out"))
    with pytest.raises(T2IError, match=r"was started with model\.size = None, now it is 3"):
        run(job(tmp_path / "out", model={"size": 3}))
    with pytest.raises(T2IError, match="power = 2, now it is 3"):
        run(replace(job(tmp_path / "out"), settings={"power": 3}))


def test_a_folder_of_something_else_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(T2IError, match="holds something else already"):
        run(job(tmp_path))
    assert sorted(path.name for path in tmp_path.iterdir()) == [".job.lock", "thesis.txt"]


def test_a_run_that_is_killed_leaves_whole_shards_and_is_continued(tmp_path: Path) -> None:
    out = tmp_path / "out"
    script = Path(__file__).with_name("jobs_to_do.py")
    killed = subprocess.Popen([sys.executable, script, out, "6", "0.5", ""])
    while not len(list(out.glob("shards/*.txt"))) >= 2 and killed.poll() is None:
        time.sleep(0.01)
    killed.send_signal(signal.SIGKILL)
    assert killed.wait() == -signal.SIGKILL
    assert all(EXPECTED[name] == text for name, text in shards(out).items() if name.endswith(".txt"))
    run(job(out))
    assert shards(out) == EXPECTED


def test_two_runs_in_one_folder_are_refused(tmp_path: Path) -> None:
    def again(rows: int) -> None:
        with pytest.raises(T2IError, match="another run is writing"):
            run(job(tmp_path / "out"))

    run(job(tmp_path / "out", 1), done=again)


def test_an_address_that_nobody_answers_is_an_error() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound, but not listening
        with pytest.raises(T2IError, match="no Ray cluster answers at 127"):
            check_address(f"127.0.0.1:{taken.getsockname()[1]}")


def test_a_server_that_is_not_ray_is_an_error() -> None:
    pytest.importorskip("ray")
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        address = f"127.0.0.1:{silent.getsockname()[1]}"
        check_address(address)
        with pytest.raises(T2IError, match=f"what answers at {address} is not a Ray cluster: timed out"):
            check_answer(address)


def test_a_cluster_that_wants_a_token_is_no_stranger(monkeypatch: pytest.MonkeyPatch) -> None:
    def client(address: str) -> None:
        raise RuntimeError("RPC error: InvalidAuthToken: Authentication token is missing or incorrect.")

    monkeypatch.setattr(query, "resolve_name", lambda name: client)
    with pytest.raises(T2IError, match="the Ray cluster at head:6379 wants its token"):
        check_answer("head:6379")


def test_without_an_address_a_cluster_is_started_whatever_runs_on_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def init(address: str, **words: object) -> None:
        asked.append(address)
        if len(asked) > 1:
            raise Exception("The current node\ntimed out")  # as Ray's own

    monkeypatch.setitem(sys.modules, "ray", SimpleNamespace(init=init))
    monkeypatch.setitem(sys.modules, "daft", SimpleNamespace(get_or_infer_runner_type=lambda: "ray"))
    connect(None)
    assert asked == ["local"]
    with pytest.raises(T2IError, match="cannot use the Ray cluster at this machine: The current node timed out"):
        connect(None)


@pytest.mark.parametrize("address", ["head", "head:", ":6379", "head:port"])
def test_an_address_without_host_or_port_is_an_error(address: str) -> None:
    with pytest.raises(T2IError, match="is not the address of a Ray cluster"):
        check_address(address)


def test_chunks_are_made_as_they_are_needed(tmp_path: Path) -> None:
    made: list[int] = []

    def chunks() -> Iterator[list[int]]:
        for number in range(6):
            assert len(shards(tmp_path / "out")) == number
            made.append(number)
            yield [number]

    run(replace(job(tmp_path / "out"), chunks=chunks()))
    assert len(made) == 6


def test_all_shards_are_joined_in_order_when_the_last_one_is_there(tmp_path: Path) -> None:
    joined: list[list[str]] = []
    run(job(tmp_path / "out"), join=lambda paths: joined.append([path.name for path in paths]))
    assert joined == [list(EXPECTED)]


OURS = versions()


def worker(output: Path, theirs: Mapping[str, str] = OURS, chunks: Sequence[int] = (0, 1, 3, 4, -1)) -> ClusterWorker:
    """One that has some chunks before it, each at its `place`."""
    if output.is_dir():
        (output / BEGUN).mkdir(exist_ok=True)
        with (output / CHUNKS).open("wb") as stream:
            for number in chunks:
                stream.seek(place(number))
                pickle.dump((number, [number]), stream)
    return ClusterWorker(*Given.of(job(output))._replace(versions=theirs))


def place(number: int) -> int:
    return 100 * (number + 1)


def test_a_worker_makes_a_shard_once_and_answers_with_its_number(tmp_path: Path) -> None:
    run(job(tmp_path / "out", 1))
    here = worker(tmp_path / "out")
    assert [here(place(number)) for number in (3, 4, 3)] == ["3", "4", "3"]
    assert shards(tmp_path / "out") == {name: EXPECTED[name] for name in ("000000.txt", "000003.txt", "000004.txt")}
    assert len(loads(tmp_path / "out")) == 2


def test_a_worker_reports_errors_with_the_name_of_its_machine(tmp_path: Path) -> None:
    run(job(tmp_path / "out", 1))
    assert worker(tmp_path / "out")(place(-1)) == f"{socket.gethostname()}: -1 has no square here"


def test_a_worker_that_does_not_see_a_folder_makes_nothing(tmp_path: Path) -> None:
    answer = worker(tmp_path / "elsewhere")(place(0))
    assert f"'{tmp_path / 'elsewhere'}' is not there, or is empty, but every machine must see the same folder" in answer
    assert list(tmp_path.iterdir()) == []
    run(job(tmp_path / "out", 1))
    worker(tmp_path / "out")
    photos = tmp_path / "photos"
    photos.mkdir()
    (photos / "1.png").touch()
    given = Given.of(replace(job(tmp_path / "out"), reads=(photos,)))
    (photos / "1.png").unlink()  # as where it is not mounted
    for _ in range(2):
        said = f"'{photos}' is not there, or is empty, but every machine must see the same folder"
        assert said in ClusterWorker(*given)(place(0))
        photos.rmdir() if photos.is_dir() else None
    assert len(loads(tmp_path / "out")) == 1


@pytest.mark.parametrize("name", ["t2icli", "Python"])
def test_a_worker_of_another_version_makes_nothing(tmp_path: Path, name: str) -> None:
    run(job(tmp_path / "out", 1))
    answer = worker(tmp_path / "out", {**OURS, name: "0.0.1"})(place(1))
    assert answer.endswith(f": {name} is {OURS[name]} here, on the machine that began this job 0.0.1")
    assert list(shards(tmp_path / "out")) == ["000000.txt"]


def test_a_worker_works_in_the_folder_where_the_job_was_begun(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    ClusterWorker(*Given.of(job(tmp_path / "out"))._replace(folder=Path("/")))
    assert Path.cwd() == Path("/")


def asked(workers: int, gpus: float = 0) -> Query:
    return Query(None, workers, gpus, again=False, given=Given(b"", {}, {}, Path()), places=[])


def test_workers_that_do_not_fit_into_the_cluster_are_refused() -> None:
    check_room({"CPU": 2.0, "GPU": 1.0}, asked(2, 0.5))
    with pytest.raises(T2IError, match="has 2 cores and 0 GPUs, but 3 workers need 3 and 0"):
        check_room({"CPU": 2.0}, asked(3))
    with pytest.raises(T2IError, match="has 2 cores and 1 GPUs, but 2 workers need 2 and 2"):
        check_room({"CPU": 2.0, "GPU": 1.0}, asked(2, 1))
    assert [room({"CPU": cores, "GPU": 0.9}, asked(4, 0.3)) for cores in (0, 2, 8)] == [0, 2, 3]


def test_a_query_that_would_wait_for_a_lost_machine_for_ever_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(query, "LOOKS_AFTER", 0.02)
    monkeypatch.setattr(query, "LOST_AFTER", 0.06)

    def answers() -> Iterator[str]:
        yield "0"
        time.sleep(0.2)
        yield "1"
        time.sleep(60)

    counted: list[float] = []

    def has_room() -> bool:
        counted.append(time.monotonic())
        return len(counted) < 3

    waiting = patient(answers(), has_room)
    assert next(waiting) == "0"
    with pytest.raises(Lost, match="the cluster has lost machines"):
        list(waiting)
    assert len(counted) >= 5


def test_answers_and_errors_of_a_query_are_passed_on() -> None:
    def answers() -> Iterator[str]:
        yield from ("0", "1")
        raise T2IError("the cluster failed")

    waiting = patient(answers(), lambda: True)
    assert [next(waiting), next(waiting)] == ["0", "1"]
    with pytest.raises(T2IError, match="the cluster failed"):
        next(waiting)
    assert list(patient(iter(["7"]), lambda: True)) == ["7"]


class Asked:
    """In place of `ask`: each query is answered by the next of some functions of what it asks, by a worker here."""

    def __init__(self, *answers: Callable[[Iterator[str]], Iterator[str]]) -> None:
        self.answers = list(answers)
        self.queries: list[Query] = []

    def __call__(self, query: Query) -> Iterator[str]:
        self.queries.append(query)
        here = ClusterWorker(*query.given)
        return self.answers.pop(0)(here(place) for place in query.places)


def lost(answers: Iterator[str]) -> Iterator[str]:
    """Two chunks are made, of which one is answered."""
    yield next(answers)
    next(answers)
    raise Lost("the cluster has lost machines")


def nothing(answers: Iterator[str]) -> Iterator[str]:
    raise Lost("the cluster failed")
    yield


def run_by(asked: Asked, output: Path, done: Callable[[int], None] = lambda rows: None) -> int:
    """Run the job on a cluster that answers so."""
    begin(job(output))
    return run_on_ray(job(output), Ray("auto", 2), done, asked)


def test_what_lost_machines_have_left_is_asked_again(tmp_path: Path) -> None:
    asked = Asked(lost, nothing, lost, iter)
    done: list[int] = []
    assert run_by(asked, tmp_path / "out", done.append) == 6
    assert shards(tmp_path / "out") == EXPECTED and done == [1] * 6
    assert [(len(query.places), query.again) for query in asked.queries] == [
        (6, False),
        (4, True),
        (4, True),
        (2, True),
    ]
    assert not (tmp_path / "out" / CHUNKS).exists() and not (tmp_path / "out" / BEGUN).exists()


def test_a_cluster_that_fails_again_and_again_is_given_up(tmp_path: Path) -> None:
    asked = Asked(lost, nothing, nothing)
    with pytest.raises(Lost, match="the cluster failed"):
        run_by(asked, tmp_path / "out")
    assert asked.answers == [] and len(shards(tmp_path / "out")) == 2


def test_a_chunk_under_which_workers_die_is_refused_by_its_first_row(tmp_path: Path) -> None:
    script = Path(__file__).with_name("jobs_to_do.py")
    run(job(tmp_path / "out", 1))
    worker(tmp_path / "out")
    given = Given.of(job(tmp_path / "out", deadly=3))
    words = (
        f"import pickle, sys; sys.path.append({str(script.parent)!r}); from t2icli.engine.worker import ClusterWorker; "
    )
    for _ in range(TRIES):
        died = subprocess.run(
            [sys.executable, "-c", f"{words}ClusterWorker(*pickle.loads({pickle.dumps(tuple(given))!r}))({place(3)})"]
        )
        assert died.returncode == -signal.SIGKILL
    assert f"{TRIES} workers have died on the rows from '3' on" in ClusterWorker(*given)(place(3))
    assert ClusterWorker(*given)(place(4)) == "4"
    assert [path.name for path in (tmp_path / "out" / BEGUN).iterdir()] == ["3"]
