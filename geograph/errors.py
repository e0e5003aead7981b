"""Errors that geograph raises: each says what went wrong, where, and what to do about it."""

from __future__ import annotations

from os import PathLike


class GeographError(Exception):
    """Base class of every error that geograph raises on purpose."""


class ShapeError(GeographError, ValueError):
    """An array or tensor has the wrong shape or the wrong dtype."""


class ConfigError(GeographError, ValueError):
    """A parameter is unknown, of the wrong type or out of range; the message has its dotted path."""


class BackendError(GeographError, RuntimeError):
    """A compute backend that was asked for by name cannot run here, and why."""


class CheckpointError(GeographError, ValueError):
    """A checkpoint is unreadable, unsafe, or belongs to another model or configuration."""


class DownloadError(GeographError, OSError):
    """A reference file could not be fetched; the message has the URL and where to put the file by hand."""


class MissingExtraError(GeographError, ImportError):
    """A feature needs an optional dependency group that is not installed."""

    def __init__(self, feature: str, module: str, extra: str) -> None:
        super().__init__(
            f"{feature} needs the package `{module}`, which is not installed; "
            f"install it with `pip install 'geograph[{extra}]'`."
        )
        self.feature, self.module, self.extra = feature, module, extra


class DataError(GeographError, ValueError):
    """Input data is unusable.

    Parameters
    ----------
    what
        What is wrong, in one clause without a final full stop.
    source
        File (or generator) that the data came from.
    record
        Which record of it: an index or an identifier.
    remedy
        What the user can do about it.
    """

    def __init__(
        self,
        what: str,
        *,
        source: str | PathLike[str] | None = None,
        record: str | int | None = None,
        remedy: str | None = None,
    ) -> None:
        self.what, self.source, self.record, self.remedy = what, source, record, remedy
        super().__init__(self._message())

    def _message(self) -> str:
        where = ", ".join(
            part
            for part in (
                str(self.source) if self.source is not None else "",
                f"record {self.record}" if self.record is not None else "",
            )
            if part
        )
        message = f"{where}: {self.what}" if where else self.what
        return f"{message}; {self.remedy}." if self.remedy else f"{message}."

    def at(self, *, source: str | PathLike[str] | None = None, record: str | int | None = None) -> DataError:
        """Return the same error with the place filled in where it was still unknown."""
        return DataError(
            self.what,
            source=self.source if self.source is not None else source,
            record=self.record if self.record is not None else record,
            remedy=self.remedy,
        )
