"""Errors of the operating system at the start of a program are classified here by whether a retry may
succeed."""

from __future__ import annotations

import errno

from minicloud.core.errors import ConfigError, NotYetError

# No retry mends these: a name is wrong, or a file belongs to another user.
_LASTING = frozenset(
    {
        errno.EACCES,
        errno.EPERM,
        errno.ENOENT,
        errno.EEXIST,
        errno.ENOTDIR,
        errno.EISDIR,
        errno.ELOOP,
        errno.ENAMETOOLONG,
        errno.EINVAL,
    }
)


def is_lasting(error: OSError) -> bool:
    """Return True where no retry mends the cause of `error`."""
    return error.errno in _LASTING


def start_error(
    text: str, error: OSError, *, lasting: frozenset[int] = frozenset()
) -> ConfigError | NotYetError:
    """Return `text` as a `ConfigError` where no retry mends the cause of `error`, else as a `NotYetError`.

    `lasting` are further error numbers that no retry mends in this place.
    """
    return (ConfigError if error.errno in _LASTING | lasting else NotYetError)(text)
