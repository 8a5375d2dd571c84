from __future__ import annotations

import t2i_sample
import torch

from t2icli.testing import check_metric


def test_it_keeps_the_promises_of_a_metric() -> None:
    (entry,) = t2i_sample.t2i_metrics()
    check_metric(entry)


def test_a_shift_of_all_colours_touches_no_edge() -> None:
    grey = torch.full((1, 3, 8, 8), 0.5)
    distances = [
        t2i_sample.Edges(t2i_sample.Settings(edges=edges)).distance(grey, grey + 0.1).item() for edges in (0, 9)
    ]
    assert distances[0] == distances[1]
