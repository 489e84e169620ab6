"""Text for messages: errors on one line, and names from files without control characters."""

from __future__ import annotations

import re
import unicodedata

_MAX_LENGTH = 2000
_KEPT_END = 400  # of a shortened message: its remedy
_USER_OF_ADDRESS = re.compile(r"(?<=://)[^/\s'\"]+@")


def escaped(text: str) -> str:
    r"""Text for a terminal: control characters, line breaks and invalid Unicode as escapes such as ``\x1b``.

    User names and passwords in addresses are left out.
    """
    text = without_passwords(text)
    if text.isprintable():
        return text
    return "".join(letter if _is_shown(letter) else ascii(letter)[1:-1] for letter in text)


def _is_shown(letter: str) -> bool:
    if letter.isprintable():
        return True
    # Emoji are joined by format characters, and file names of macOS contain narrow spaces.
    return unicodedata.category(letter) in ("Cf", "Zs") and unicodedata.bidirectional(letter) in ("BN", "CS", "WS")


def without_passwords(text: str) -> str:
    """Text without the user names and passwords of the addresses in it."""
    return _USER_OF_ADDRESS.sub("", text)


def one_line(error: BaseException) -> str:
    """An exception as one line of at most 2000 characters that can be printed on a terminal."""
    text = escaped(_describe(error))
    if len(text) <= _MAX_LENGTH:
        return text
    return f"{text[: _MAX_LENGTH - _KEPT_END]} ... {text[-_KEPT_END:]}"


def _describe(error: BaseException) -> str:
    if isinstance(error, OSError) and error.strerror:
        names = [str(name) for name in (error.filename, error.filename2) if name is not None]
        return ": ".join([*names, error.strerror])
    if isinstance(error, KeyError) and error.args:
        return str(error.args[0]) if type(error) is not KeyError else f"the key {error.args[0]!r} is missing"
    if isinstance(error, MemoryError):
        return f"not enough memory: {error}" if str(error) else "not enough memory"
    text = str(error)
    if isinstance(error, RuntimeError):  # PyTorch's go on with lines about its internals
        text = text.strip().partition("\n")[0]
    return text or type(error).__name__
