"""The few flags that several commands share, each defined once."""

from __future__ import annotations

import secrets
from pathlib import Path
from typing import Annotated, Any, Literal

import typer
from msgspec import Struct

from t2icli import config
from t2icli.commands import complete, show
from t2icli.engine import jobs
from t2icli.engine.run import Ray
from t2icli.ground.errors import T2IError

MOST = 1_000_000
"""Of pictures or captions of one prompt or picture: what a run remembers of each must fit into memory."""

Options = Annotated[
    list[str] | None,
    typer.Option("--option", "-o", metavar="KEY=VALUE", help="A setting of the backend; see `t2i plugins KIND NAME`."),
]
"""The words of `-o`: give them to `config.options`."""


def _use_file(context: typer.Context, path: Path | None) -> Path | None:
    return config.use_file(context, path)


Config = Annotated[
    Path | None,
    typer.Option(
        "--config",
        metavar="FILE.toml",
        help="File with defaults for these flags, such as the settings.toml of an earlier run.",
        is_eager=True,
        callback=_use_file,
    ),
]


def named_path(word: Any) -> Path:
    """What flags that write take, typed or in a file: an empty word would mean the folder one is in."""
    if not isinstance(word, (str, Path)) or not str(word):
        raise T2IError(f"{word!r} is not the name of a file or folder to write to", "name one, or leave the flag out")
    return Path(word)


def data_path(word: Any) -> Path:
    """What flags that read data take: a path, or the address of a prepared dataset."""
    from t2icli.data.places import where

    return where(str(word))


def named(kind: str, *flags: str, help: str) -> Any:
    """A flag that takes the name of a backend or model of one kind, which Tab completes."""
    completer = complete.rankers if kind == "ranker" else complete.names(kind)
    return typer.Option(*flags, metavar=kind.upper(), help=help, autocompletion=completer)


def random_seed() -> int:
    """A random seed, short enough to be read aloud."""
    return secrets.randbelow(1_000_000)


Seed = Annotated[
    int | None,
    typer.Option(
        "--seed", metavar="N", min=0, max=2**62, help="Random seed; a random one is chosen and reported if omitted."
    ),
]

BatchSize = Annotated[
    int | None,
    typer.Option(
        "--batch-size", metavar="N", min=1, max=MOST, help="How many to work on at once; does not change the result."
    ),
]

Device = Annotated[
    str | None,
    typer.Option("--device", metavar="DEVICE", help="cpu, cuda, cuda:1, mps; the fastest available if omitted."),
]

Json = Annotated[bool, typer.Option("--json", help="Print one JSON document on stdout, also for errors.")]


class PrintFlags(Struct, frozen=True):
    """Flags of a command that prints results."""

    as_json: Json = False
    plain: Annotated[
        bool,
        typer.Option("--plain", help="Print only paths, one per line: the default if the output is not a terminal."),
    ] = False

    @property
    def is_plain(self) -> bool:
        return show.is_plain(self.plain)


class PictureFlags(PrintFlags, frozen=True):
    """Flags of a command whose results are pictures."""

    show_pictures: Annotated[bool, typer.Option("--show", help="Show the pictures in the terminal.")] = False

    def check(self) -> None:
        """Refuse a terminal that cannot show pictures, before any work is done."""
        if self.show_pictures:
            show.check_pictures()


Force = Annotated[bool, typer.Option("--force", help="Replace what an earlier run left in the folder.")]

Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask for confirmation.")]

Audio = Annotated[
    Path | None, typer.Option("--audio", metavar="FILE", help="A sound in place of the prompt: WAV, FLAC, OGG or MP3.")
]

AudioEmbedder = Annotated[
    str | None,
    named("embedder", "--audio-embedder", help="Embedder for --audio; its settings are -o audio.KEY=VALUE."),
]

Address = Annotated[
    str | None,
    typer.Option("--address", help="Address of the Ray cluster; if omitted, one is started on this machine."),
]

Rerank = Annotated[
    list[str] | None,
    named("ranker", "--rerank", help="Ranker, or several with weights: clip, or clip=2,brivl=1."),
]


class BackendFlags(Struct, frozen=True):
    """Flags of a command that loads a backend."""

    option: Options = None
    config_file: Config = None
    batch_size: BatchSize = None
    device: Device = None

    def options(self, context: typer.Context) -> dict[str, Any]:
        """The backend's settings, from wherever they were given."""
        return config.options(context, self.option or ())

    @property
    def limits(self) -> dict[str, Any]:
        """The arguments of `open_one` and `choose` beside the settings."""
        return {"batch": self.batch_size, "device": self.device}


class JobFlags(Struct, frozen=True):
    """Flags of a command that can work in shards, here or on a cluster."""

    engine: Annotated[
        Literal["here", "ray"] | None,
        typer.Option(
            "--engine", help="Work in shards, so that a later run can continue: in this process, or on a Ray cluster."
        ),
    ] = None
    address: Address = None
    workers: Annotated[
        int, typer.Option("--workers", metavar="N", min=1, help="Processes of the cluster, each with its own model.")
    ] = 1
    gpus_per_worker: Annotated[
        float, typer.Option("--gpus-per-worker", min=0, max=1, help="GPUs of each worker: 0.5 lets two share one.")
    ] = 0
    shard_rows: Annotated[int, typer.Option("--shard-rows", metavar="N", min=1, help="Rows in one shard.")] = 256

    def cluster(self) -> Ray | None:
        """The cluster to work on; None for this process."""
        if self.engine == "ray":
            return Ray(self.address, self.workers, self.gpus_per_worker)
        if self.address is not None or self.workers > 1 or self.gpus_per_worker:
            raise T2IError("--address, --workers and --gpus-per-worker are for a cluster", "add --engine ray")
        return None


def job_seed(seed: int | None, output: Path | None) -> int:
    """The seed typed, else that of the job in `output`, else a random one."""
    if seed is None and output is not None:
        seed = jobs.noted(output).get("seed")
    return random_seed() if seed is None else seed


def output_folder(output: Path | None) -> Path:
    """Where a job goes, which must be named to be continued."""
    if output is None:
        raise T2IError("--output is missing", "add --output FOLDER")
    return output
