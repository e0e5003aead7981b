"""Cache tables of constants that both evaluation and training use."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache, wraps
from typing import ParamSpec, TypeVar, cast

import torch

P = ParamSpec("P")
T = TypeVar("T")


def cached_tables(maxsize: int) -> Callable[[Callable[P, T]], Callable[P, T]]:
    """Decorate a function of hashable arguments that returns tensors: keep its last results.

    They are made outside of inference mode whoever asks first. Tensors that inference mode made may not be
    saved for a derivative, so that a table cached by a validation would end a training that follows it.

    Parameters
    ----------
    maxsize
        Number of results that are kept.
    """

    def decorate(function: Callable[P, T]) -> Callable[P, T]:
        @lru_cache(maxsize=maxsize)
        @wraps(function)
        def make(*args: P.args, **kwargs: P.kwargs) -> T:
            with torch.inference_mode(False), torch.no_grad():
                return function(*args, **kwargs)

        return cast(Callable[P, T], make)

    return decorate
