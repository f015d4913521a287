"""State is kept in one folder. This module has its default place, and checks that it can be written to."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from minicloud.core.errors import ConfigError
from minicloud.starting import start_error

_REMEDY = "give another with --data-dir FOLDER, or --data-dir none to keep nothing"


def default_state_dir(env: Mapping[str, str]) -> Path:
    """Return the default folder for state: systemd's, else the user's.

    A service account may have no home at all. That is reported here, in one line, rather than found out later
    by a database that cannot be opened.
    """
    from_systemd = env.get("STATE_DIRECTORY", "").split(":")[0]
    if from_systemd:
        return Path(from_systemd)
    xdg = env.get("XDG_STATE_HOME", "")
    if xdg.startswith("/"):  # the XDG specification says to ignore relative ones
        return Path(xdg) / "minicloud"
    home = env.get("HOME", "")
    if not home.startswith("/"):
        try:
            home = str(Path.home())
        except RuntimeError:
            raise ConfigError(
                "no folder to keep data in: this user has no home, and neither STATE_DIRECTORY nor "
                "XDG_STATE_HOME is set: give --data-dir FOLDER, or --data-dir none to keep nothing"
            ) from None
    return Path(home) / ".local/state/minicloud"


def prepare_data_dir(data_dir: Path | None, *, to_write: bool = True) -> None:
    """Make the data folder, for this user alone, and check that it can be written to.

    Raises `NotYetError` where it cannot be at present (a full or read-only disk), `ConfigError` where it
    never can. With `to_write=False` the check is left out, as the files that are there may be enough.
    """
    if data_dir is None:
        return
    try:
        data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        if to_write:
            probe = data_dir / ".writable"
            probe.touch()
            probe.unlink()
    except FileExistsError:
        raise ConfigError(f"the data folder {data_dir} is a file: {_REMEDY}") from None
    except OSError as error:
        text = f"cannot write to the data folder {data_dir}: {error.strerror}: {_REMEDY}"
        raise start_error(text, error) from None
