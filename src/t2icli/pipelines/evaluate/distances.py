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

    ||m1 - m2||^2 + tr(C1 + C2 - 2 (C1 C2)^(1/2)); with C1 = A^T A and C2 = B^T B the trace of the root is the sum of
    the singular values of A B^T, so no root of a matrix is needed, and few pictures make small matrices.
    """
    a, b = np.asarray(features, np.float64), np.asarray(others, np.float64)
    if min(len(a), len(b)) < 2:
        raise T2IError("a Frechet distance needs at least two pictures on each side")
    first, second = _factor(a), _factor(b)
    cross = np.linalg.svd(first @ second.T, compute_uv=False).sum()
    offset = a.mean(0) - b.mean(0)
    return float(offset @ offset + np.square(first).sum() + np.square(second).sum() - 2 * cross)


def _factor(x: NDArray[Any]) -> NDArray[Any]:
    """A matrix A whose A^T A is the covariance of the rows of x, with no more rows than columns."""
    factor: NDArray[Any] = (x - x.mean(0)) / np.sqrt(len(x) - 1)
    if len(x) > x.shape[1]:
        factor = np.asarray(np.linalg.qr(factor, mode="r"))
    return factor


def kernel_distance(features: NDArray[Any], others: NDArray[Any]) -> tuple[float, float | None]:
    """KID: the squared maximum mean discrepancy under the kernel (x y / d + 1)^3, without bias; and its deviation
    between subsets."""
    a, b = np.asarray(features, np.float64), np.asarray(others, np.float64)
    size = min(SUBSET, len(a), len(b))
    if size == len(a) == len(b):
        return _discrepancy(a, b), None
    random = np.random.default_rng(0)
    distances = [_discrepancy(*(x[random.choice(len(x), size, replace=False)] for x in (a, b))) for _ in range(SUBSETS)]
    return float(np.mean(distances)), float(np.std(distances))


def _discrepancy(a: NDArray[Any], b: NDArray[Any]) -> float:
    n = len(a)
    own = sum(_kernel(x, x).sum() - np.trace(_kernel(x, x)) for x in (a, b)) / (n * (n - 1))
    return float(own - 2 * _kernel(a, b).mean())


def _kernel(a: NDArray[Any], b: NDArray[Any]) -> NDArray[Any]:
    kernel: NDArray[Any] = (a @ b.T / a.shape[1] + 1) ** 3
    return kernel
