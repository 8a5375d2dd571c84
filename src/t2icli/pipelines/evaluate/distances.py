"""How far two sets of features are apart, in float64: the Frechet distance and the kernel distance."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from t2icli.ground.errors import T2IError

if TYPE_CHECKING:
    from numpy.typing import NDArray

SUBSET = 1_000
SUBSETS = 100
"""KID is the mean over this many random subsets of so many pictures; over all pictures where there are no more."""


def frechet(features: NDArray[Any], others: NDArray[Any]) -> float:
    """The Frechet distance of two normal distributions fitted to features, (n, d) and (m, d), in float64.

    ||m1 - m2||^2 + tr(C1 + C2 - 2 (C1 C2)^(1/2)); the trace of the root is the sum of the roots of the eigenvalues of
    C1^(1/2) C2 C1^(1/2), which is symmetric, so no general matrix root is needed.
    """
    a, b = np.asarray(features, np.float64), np.asarray(others, np.float64)
    if min(len(a), len(b)) < 2:
        raise T2IError("a Frechet distance needs at least two pictures on each side")
    first, second = (np.cov(x, rowvar=False).reshape(x.shape[1], x.shape[1]) for x in (a, b))
    values, vectors = np.linalg.eigh(first)
    root = (vectors * np.sqrt(values.clip(min=0))) @ vectors.T
    cross = np.sqrt(np.linalg.eigvalsh(root @ second @ root).clip(min=0)).sum()
    offset = a.mean(0) - b.mean(0)
    return float(offset @ offset + np.trace(first) + np.trace(second) - 2 * cross)


def kernel_distance(features: NDArray[Any], others: NDArray[Any]) -> tuple[float, float | None]:
    """KID: the squared maximum mean discrepancy under the kernel (x y / d + 1)^3, without bias; and its deviation
    between subsets."""
    a, b = np.asarray(features, np.float64), np.asarray(others, np.float64)
    size = min(SUBSET, len(a), len(b))
    if size == len(a) == len(b):
        return _discrepancy(a, b), None
    random = np.random.default_rng(0)
    found = [_discrepancy(*(x[random.choice(len(x), size, replace=False)] for x in (a, b))) for _ in range(SUBSETS)]
    return float(np.mean(found)), float(np.std(found))


def _discrepancy(a: NDArray[Any], b: NDArray[Any]) -> float:
    n = len(a)
    own = sum(_kernel(x, x).sum() - np.trace(_kernel(x, x)) for x in (a, b)) / (n * (n - 1))
    return float(own - 2 * _kernel(a, b).mean())


def _kernel(a: NDArray[Any], b: NDArray[Any]) -> NDArray[Any]:
    found: NDArray[Any] = (a @ b.T / a.shape[1] + 1) ** 3
    return found
