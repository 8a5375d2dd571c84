"""The command this plugin adds."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from t2icli import load

app = typer.Typer(no_args_is_help=True, help="BriVL's own checks.", callback=lambda: None)


@app.command()
def check(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="A BriVL model, by name or folder.")] = "brivl",
    pictures: Annotated[
        Path | None,
        typer.Option("--pictures", metavar="FOLDER", help="Folder of baike_14361859_0.jpg and the two other pictures."),
    ] = None,
    image_size: Annotated[
        int, typer.Option("--image-size", help="The published vectors were most likely made at 456.")
    ] = 456,
) -> None:
    """Compare an imported BriVL 1.0 with the vectors its makers published."""
    from t2i_brivl.check import compare

    agreements = compare(load("embedder", model, image_size=image_size), pictures)
    for each in agreements:
        typer.echo(f"{each.cosine:.6f}  {'same' if each.is_same else 'different'}  {each.what}")
    if not all(each.is_same for each in agreements):
        raise typer.Exit(1)
