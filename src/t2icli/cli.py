"""The command line `t2i`: finds the command, runs it, and turns what goes wrong into a message and an exit code.

Commands are announced by plugins through the hook `t2i_commands`; the first of these plugins is `t2icli.commands`.
"""

from __future__ import annotations

import contextlib
import gc
import io
import os
import pkgutil
import signal
import sys
import threading
import warnings
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Annotated, Any

import typer
import typer.core
import typer.main

from t2icli import config
from t2icli.commands import recipe_help, show, wrong_flag
from t2icli.commands.flag_values import Converter
from t2icli.contract.entries import Command
from t2icli.ground import distributions
from t2icli.ground.errors import T2IError, did_you_mean
from t2icli.ground.translate import language
from t2icli.registry import discovery
from t2icli.registry.discovery import CommandOffer

INTERRUPTED = 130
"""The exit code after Ctrl-C, as shells have it."""
ANYWHERE = ("--debug", "--offline", "--quiet", "-q")
"""Flags of `t2i` itself that may also stand behind the command."""
WITH_VALUE = ("--cache-size",)
"""Those of them that take a value."""


class Commands(typer.core.TyperGroup):
    """The commands of all plugins, the first of which is t2i itself; each is imported when it runs."""

    def get_params(self, ctx: Any) -> list[Any]:
        params = super().get_params(ctx)
        _convert_plainly(params)
        return params

    def list_commands(self, ctx: Any) -> list[str]:
        return list(discovery.installed().commands)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """As much of a command as a list of them shows: reading the flags of all would take longer than the list."""
        offer = offered(cmd_name)
        return in_users_language(listed(offer.command)) if offer else None

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        name, *rest = args
        gc.enable()  # see __main__
        if (offer := offered(name)) is not None:
            command = loaded(offer)
            _convert_plainly_below(command, ctx)
            if name == "train":
                recipe_help.add_defaults(command, rest)
            return name, in_users_language(command), rest
        if not (name.startswith("-") or ctx.resilient_parsing):
            raise T2IError(f"there is no command {name!r}", did_you_mean(name, self.list_commands(ctx)))
        return super().resolve_command(ctx, args)


def _convert_plainly(params: list[Any]) -> None:
    for parameter in params:
        of_typer = getattr(parameter, "get_runtime_param", None)  # older versions of Typer have none
        if of_typer is not None and not isinstance(of_typer, Converter):
            parameter.get_runtime_param = Converter(parameter)


def _convert_plainly_below(command: Any, ctx: Any) -> None:
    _convert_plainly(command.get_params(ctx))
    for below in getattr(command, "commands", {}).values():
        _convert_plainly_below(below, ctx)


def offered(name: str) -> CommandOffer | None:
    """The command of this name. No plugin is asked for one of our own."""
    return discovery.built_in_commands().get(name) or discovery.installed().commands.get(name)


def in_users_language(command: Any) -> Any:
    """The command with its help translated; nothing is loaded for English."""
    if language() == "en":
        return command
    from t2icli.commands.localized import localized

    return localized(command)


def listed(command: Command) -> Any:
    """A command without its flags."""
    return typer.core.TyperCommand(command.name, help=command.about, rich_help_panel=command.panel)


def loaded(offer: CommandOffer) -> Any:
    """A command as Typer runs it, with its T2I_* variables."""
    made = _function(offer)
    command = typer.main.get_group(made) if isinstance(made, typer.Typer) else _single(made)
    command.name, command.rich_help_panel = offer.command.name, offer.command.panel
    _read_environment(command)
    return command


def _function(offer: CommandOffer) -> Any:
    """What a command is announced with. Another plugin's module may do anything while it is imported."""
    place = offer.command.function
    if place.startswith("t2icli."):
        return pkgutil.resolve_name(place)
    made: list[Any] = []
    error = discovery.installed().attempt(
        offer.plugin, offer.distribution, lambda: made.append(pkgutil.resolve_name(place))
    )
    if error is not None:
        message = f"command {offer.command.name!r} of plugin {offer.plugin!r} ({offer.distribution}) cannot be loaded"
        raise T2IError(f"{message}: {type(error).__name__}: {error}", discovery.hint(offer.distribution), 1) from error
    return made[0]


def _single(function: Any) -> Any:
    app = typer.Typer(add_completion=False)
    app.command()(function)
    return typer.main.get_command(app)


def _read_environment(command: Any) -> None:
    """Let T2I_BATCH_SIZE set `--batch-size`, in a command and all below it."""
    for parameter in command.params:
        if parameter.param_type_name == "option" and parameter.envvar is None and parameter.name != "option":
            parameter.envvar = f"T2I_{config.flag_name(parameter).upper()}"
            parameter.show_envvar = False
    for below in getattr(command, "commands", {}).values():
        _read_environment(below)


app = typer.Typer(
    cls=Commands,
    epilog="Flags such as --batch-size can also be set in a file (--config FILE: batch_size = 8) or by a variable "
    "(T2I_BATCH_SIZE=8). The command line takes precedence over variables, and these over the file. "
    "T2I_LANG=en or T2I_LANG=zh sets the language of messages; by default it is the system's.",
    context_settings={
        "help_option_names": ["-h", "--help"],
        "token_normalize_func": lambda word: word.replace("_", "-"),
    },
)


def _show_version(wanted: bool) -> None:
    if wanted:
        show.line(distributions.own_title().replace("t2icli", "t2i", 1))
        raise typer.Exit


def _set_cache_size(size: str | None) -> None:
    if size is not None:
        from t2icli.data import room

        room.parse(size)
        os.environ[room.VARIABLE] = size  # for this process, and those that it starts


@app.callback()
def root(
    version: Annotated[
        bool, typer.Option("--version", help="Show the version and exit.", is_eager=True, callback=_show_version)
    ] = False,
    offline: Annotated[bool, typer.Option("--offline", help="Never use the network.")] = False,
    cache_size: Annotated[
        str | None,
        typer.Option(
            "--cache-size",
            metavar="SIZE",
            help="Disk space for data read at an address, such as 200GB; T2I_CACHE_SIZE sets it for good.",
            callback=_set_cache_size,
        ),
    ] = None,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress and no warnings on stderr.")] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
) -> None:
    """Draw pictures of prompts, rank and caption pictures, and train every model involved."""


def run(argv: Sequence[str]) -> int:
    """Run one command line and return its exit code. The only place where an error becomes a message."""
    own, words = _split(argv or ["--help"])
    os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")  # torch asks Linux for large pages: training is 7 to 20 % faster
    if "--offline" in own or os.environ.get("T2I_OFFLINE"):
        os.environ.update(T2I_OFFLINE="1", HF_HUB_OFFLINE="1", TRANSFORMERS_OFFLINE="1")
    show.quiet = not {"--quiet", "-q"}.isdisjoint(own)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore" if show.quiet else "default", category=UserWarning)
        warnings.showwarning = show.warning
        code = _guarded([*own, *words], debug="--debug" in own, as_json="--json" in words)
    _report_broken_plugins()
    return code


def _split(argv: Sequence[str]) -> tuple[list[str], list[str]]:
    """The flags of `t2i` itself, anywhere before `--`, and all the other words."""
    end = argv.index("--") if "--" in argv else len(argv)
    own: list[str] = []
    others: list[str] = []
    before = iter(argv[:end])
    for word in before:
        if word in ANYWHERE or word.startswith(tuple(f"{flag}=" for flag in WITH_VALUE)):
            own.append(word)
        elif word in WITH_VALUE:
            own += [word, *islice(before, 1)]
        else:
            others.append(word)
    return own, others + list(argv[end:])


def _guarded(argv: list[str], *, debug: bool, as_json: bool) -> int:
    try:
        done = in_users_language(typer.main.get_command(app)).main(argv, prog_name="t2i", standalone_mode=False)
        sys.stdout.flush()
        if done == INTERRUPTED:  # Typer has caught the KeyboardInterrupt
            return show.interrupted()
        return done if isinstance(done, int) else 0
    except BrokenPipeError:  # the reader of our output has gone: `t2i rerank ... | head -1`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except KeyboardInterrupt:
        return show.interrupted()
    except SystemExit as error:
        return error.code if isinstance(error.code, int) else 1
    except Exception as error:
        if debug:
            show.traceback(error)
        return show.error(wrong_flag.explained(error, argv), as_json=as_json)


def _report_broken_plugins() -> None:
    if discovery.installed.cache_info().currsize and not show.quiet:
        for broken in discovery.installed().broken:
            show.warn(str(broken))


def main() -> None:
    """The program `t2i`."""
    for stream in (sys.stdin, sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # a Windows pipe, or a locale that knows no Chinese
            stream.reconfigure(encoding="utf-8", errors="surrogateescape" if stream is sys.stdin else "replace")
    if "--debug" not in sys.argv:
        threading.excepthook = lambda failed: show.warn(
            f"a thread failed: {failed.exc_type.__name__}: {failed.exc_value}"
        )
    with _ending_in_order():
        code = run(sys.argv[1:])
    _close_results()
    sys.exit(code)


def _close_results() -> None:
    """The results are complete: what threads and exit functions of plugins write to stdout goes to stderr."""
    with contextlib.suppress(OSError, ValueError):
        sys.stdout.flush()
        os.dup2(2, 1)


@contextlib.contextmanager
def _ending_in_order() -> Iterator[None]:
    """SIGTERM, or losing the terminal, unwinds like Ctrl-C: finished work is saved."""
    numbers = [getattr(signal, name) for name in ("SIGTERM", "SIGHUP", "SIGUSR1") if hasattr(signal, name)]
    ours = [number for number in numbers if signal.getsignal(number) == signal.SIG_DFL]  # not those nohup ignores
    for number in ours:
        signal.signal(number, lambda number, frame: sys.exit(128 + number))
    try:
        yield
    finally:
        for number in ours:
            signal.signal(number, signal.SIG_DFL)
