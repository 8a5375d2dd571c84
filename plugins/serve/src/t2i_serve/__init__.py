"""`t2i serve`: the OpenAI images API and a web page.

How a request is handled:

1. `guard` refuses what may not come in: a foreign Host or Origin, a wrong token, a body that is too large.
2. `routes` turn the body (`schema`) into an `Order`: prompt, seed, number, settings, pictures to go by, rankers.
3. `studio.Studio.draw` admits it, or answers 429, and asks `pool` for the model, which is loaded if need be.
4. The model's `drawer` has one thread. It draws waves of up to 64 pictures of waiting requests, in which clients take
   turns, and reports steps, previews and pictures to each order. A picture is the same in any wave, by the contract of
   generators.
5. The rankers score an order's pictures, each ranker in its own thread. No order holds two models at once, so that
   models can be dropped under `--memory` without a deadlock.
6. `shelf` files the pictures as an ordinary album in the output folder, as `t2i generate` does.
7. The route answers with JSON, or with events as they come.

Everything but the drawers' and rankers' threads happens on the event loop, so that only `drawer` needs a lock.
"""

from __future__ import annotations

from t2icli.contract.entries import Command
from t2icli.contract.hookspecs import hookimpl


@hookimpl
def t2i_commands() -> list[Command]:
    return [Command("serve", "Serve the OpenAI images API and a web page.", "t2i_serve.command:serve", "Pictures")]
