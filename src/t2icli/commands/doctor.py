"""`t2i doctor`: what works here, what does not, and why."""

from __future__ import annotations

from typing import Annotated

import msgspec
import typer

from t2icli.commands import show
from t2icli.commands.options import Json


def doctor(
    network: Annotated[bool, typer.Option("--network", help="Also ask the hosts that models come from.")] = False,
    json: Json = False,
) -> None:
    """Look at everything `t2i` stands on: packages, device, plugins, models, disk; exit code 1 if one is broken."""
    from t2icli.pipelines.doctor import examine

    findings = list(examine(network=network, tell=lambda name: show.note(f"reading model {name}")))
    if json:
        show.json(msgspec.to_builtins(findings))
    else:
        show.table([(f.state, f.topic, f.says, f.hint) for f in findings], ("", "what", "", "what to do"))
    if any(finding.state == "broken" for finding in findings):
        raise typer.Exit(1)
