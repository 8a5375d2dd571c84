"""`t2i doctor`: what works here, what does not, and why."""

from __future__ import annotations

from typing import Annotated

import msgspec
import typer

from t2icli.commands import show
from t2icli.commands.options import Json


def doctor(
    network: Annotated[
        bool, typer.Option("--network", help="Also contact the hosts that models are downloaded from.")
    ] = False,
    json: Json = False,
) -> None:
    """Check packages, devices, plugins, models and disk space; exit code 1 if something is broken."""
    from t2icli.pipelines.doctor import examine

    findings = list(examine(network=network, tell=lambda name: show.note(f"loading model {name}")))
    if json:
        show.json(msgspec.to_builtins(findings))
    else:
        show.table([(f.state, f.topic, f.says, f.hint) for f in findings], ("", "what", "", "what to do"))
    if any(finding.state == "broken" for finding in findings):
        raise typer.Exit(1)
