"""t2i: sentences to pictures, sorted, captioned and trained, from parts that anyone can write."""

from t2icli.errors import T2IError
from t2icli.plugins import load

__all__ = ["T2IError", "load"]
