"""What a training asks of its loaders, how they learn the epoch, and batches that are made ahead."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from typing import Any, Protocol, cast, runtime_checkable

import lightning
import torch
from torch_geometric.data import Data

from geograph.errors import ConfigError


@runtime_checkable
class Loader(Protocol):
    """Batches of a data set, whose order is a function of the epoch alone."""

    def __iter__(self) -> Iterator[Data]: ...

    def __len__(self) -> int: ...

    def set_epoch(self, epoch: int) -> None:
        """Choose the order of the next pass."""


class EpochLoader:
    """Tells the loader the epoch when a pass begins; Lightning would do so only after the first fetch.

    It has no length on purpose: the number of batches may differ from epoch to epoch (batches that are cut
    by their number of edges), and Lightning would drop what exceeds a length.

    Attributes
    ----------
    length
        Number of batches of the present pass, and of epoch 0 before the first.
    num_skipped
        Batches that the next pass leaves out, because a training that goes on within an epoch has seen them.

    Raises
    ------
    ConfigError
        If the loader has no batch.
    """

    def __init__(self, loader: Loader | Iterable[Data], name: str) -> None:
        self.loader = loader
        self.trainer: lightning.Trainer | None = None
        self.num_skipped = 0
        self._set_epoch(0)
        self.length = len(cast(Any, loader))
        if self.length == 0:
            raise ConfigError(f"`{name}` must hold at least one batch, got none.")

    def _set_epoch(self, epoch: int) -> None:
        set_epoch = getattr(self.loader, "set_epoch", None)
        if set_epoch is not None:
            set_epoch(epoch)

    def __iter__(self) -> Iterator[Data]:
        if self.trainer is not None:
            # Epochs that are through, also right after a resume; `current_epoch` lags behind there.
            self._set_epoch(cast(Any, self.trainer.fit_loop.epoch_progress.current).processed)
            self.length = len(cast(Any, self.loader))
        first, self.num_skipped = self.num_skipped, 0
        yield from islice(self.loader, first, None)


class Prefetch:
    """Makes the next batches in a background thread while the present one is worked on.

    The batches and their order are those of the loader. An error of the loader is raised where its batch is
    asked for. The thread ends with the pass, also when that is left early. On a CUDA device the batches are
    copied there from pinned memory, on a stream of their own.

    Parameters
    ----------
    loader
        Loader with a length.
    depth
        Batches that are kept ready.
    device
        Where the batches are wanted; None leaves them where they are.

    Raises
    ------
    ConfigError
        If `depth` is below 1.
    """

    def __init__(self, loader: Loader, *, depth: int = 2, device: torch.device | str | None = None) -> None:
        if depth < 1:
            raise ConfigError(f"`depth` must be at least 1, got {depth}.")
        self.loader, self.depth = loader, depth
        self.device = None if device is None else torch.device(device)
        self._stream: Any = None

    def __len__(self) -> int:
        return len(self.loader)

    def set_epoch(self, epoch: int) -> None:
        """Choose the order of the next pass."""
        self.loader.set_epoch(epoch)

    def __iter__(self) -> Iterator[Data]:
        # The pass begins here, so that its order is settled before the thread runs.
        return self._pass(iter(self.loader))

    def _pass(self, batches: Iterator[Data]) -> Iterator[Data]:
        waiting: deque[Future[tuple[Data | None, Any]]] = deque()
        pool = ThreadPoolExecutor(1, thread_name_prefix="prefetch")
        try:
            waiting.extend(pool.submit(self._prepare, batches) for _ in range(self.depth))
            while True:
                batch, ready = waiting.popleft().result()
                if batch is None:
                    return
                waiting.append(pool.submit(self._prepare, batches))
                if ready is not None:
                    stream = torch.cuda.current_stream(self.device)
                    stream.wait_event(ready)
                    batch.record_stream(stream)
                yield batch
        finally:
            pool.shutdown(wait=True, cancel_futures=True)

    def _prepare(self, batches: Iterator[Data]) -> tuple[Data | None, Any]:
        """Return the next batch where it is wanted, None at the end, and the event of its arrival."""
        batch = next(batches, None)
        if batch is None or self.device is None:
            return batch, None
        if self.device.type != "cuda":
            return batch.to(self.device), None
        if self._stream is None:
            self._stream = torch.cuda.Stream(self.device)
        with torch.cuda.stream(self._stream):
            batch = batch.pin_memory().to(self.device, non_blocking=True)
            return batch, self._stream.record_event()
