"""Division of xyz and extended xyz text into frames, also where some of them are broken."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from geograph.errors import DataError


def split_frames(readline: Callable[[], str]) -> Iterator[list[str] | DataError]:
    """Lines of each frame (number of atoms, comment, atoms), or what is wrong with it.

    After a broken frame reading goes on at the next line that is nothing but a number of atoms, so that one
    bad frame does not take the others with it. Blank lines between frames are left out.

    Parameters
    ----------
    readline
        Returns the next line with its end, and an empty string at the end of the file.
    """
    line = readline()
    while line:
        if not line.strip():
            line = readline()
        elif not _is_count(line):
            yield DataError(
                f"a frame must begin with its number of atoms, got {line.strip()[:40]!r}",
                remedy="repair this frame or the one before it",
            )
            line = _next_count(readline, readline())
        else:
            frame, line = _frame(readline, line)
            yield frame


def _frame(readline: Callable[[], str], header: str) -> tuple[list[str] | DataError, str]:
    """Return a frame and the first line after it."""
    lines, line, count = [header], readline(), int(header)
    # A comment may be a number; an atom may not.
    while line and len(lines) < count + 2 and (len(lines) == 1 or not _is_count(line)):
        lines.append(line)
        line = readline()
    if len(lines) == count + 2:
        return lines, line
    what = f"{count} atoms announced, {max(len(lines) - 2, 0)} there"
    remedy = "the frame is cut off; repair it" if line else "the file is cut off; fetch it again"
    return DataError(what, remedy=remedy), line


def _is_count(line: str) -> bool:
    return line.strip().isdigit()


def _next_count(readline: Callable[[], str], line: str) -> str:
    while line and not _is_count(line):
        line = readline()
    return line
