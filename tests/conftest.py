"""This file collects the tests, and gives all of them the same environment, whoever starts them
(DESIGN 76)."""

from __future__ import annotations

import gc
import os
import signal
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import structlog

# A test and the processes that it starts see these variables: the paths of programs and folders, and the
# settings of pytest, its plugins, pip and Python's own caches. Everything else stays outside: settings of
# MiniCloud, the size and colours of a terminal, locale, timezone, proxies, the sockets of a service manager.
_KEPT = frozenset(
    {
        "CI",
        "HOME",
        "LD_LIBRARY_PATH",
        "LOGNAME",
        "MINICLOUD_EXECUTABLE",
        "PATH",
        "PYTHONDONTWRITEBYTECODE",
        "PYTHONHASHSEED",
        "PYTHONPATH",
        "PYTHONPYCACHEPREFIX",
        "SHELL",
        "TMPDIR",
        "USER",
    }
)
_KEPT_PREFIXES = ("HYPOTHESIS_", "PIP_", "PYENV_", "PYTEST_", "SSL_CERT_")
_SET = {"LANG": "C.UTF-8", "TERM": "dumb"}


def pytest_ignore_collect(collection_path: Path) -> bool | None:
    """Leave out `packaged`, which tests a built executable, unless MINICLOUD_EXECUTABLE names one, as in
    `make test-binary`."""
    return True if collection_path.name == "packaged" and "MINICLOUD_EXECUTABLE" not in os.environ else None


def pytest_configure() -> None:
    """Make environment, file modes and signals the same for every run."""
    kept = environment_for_tests(os.environ)
    for name in set(os.environ) - set(kept):
        del os.environ[name]
    os.environ.update(kept)
    os.umask(0o022)
    # A shell starts background jobs deaf to Ctrl-C, and nohup(1) starts a program deaf to the end of its
    # terminal. All processes that tests start would inherit that: an ignored signal stays ignored in a new
    # program, and one that has a handler does not.
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
        signal.signal(signal.SIGHUP, lambda *_: None)


def pytest_collection_finish() -> None:
    """Leave the thousands of tests out of every later search for garbage."""
    gc.collect()
    gc.freeze()


def environment_for_tests(env: Mapping[str, str]) -> dict[str, str]:
    """Return the part of `env` that tests may depend on, and the variables that are set for them."""
    kept = {name: value for name, value in env.items() if name in _KEPT or name.startswith(_KEPT_PREFIXES)}
    return kept | _SET


@pytest.fixture(autouse=True)
def _log_of_nobody_before(monkeypatch: pytest.MonkeyPatch) -> None:
    """Undo the log settings of a program that ran in this process before.

    In a program, a logger keeps the settings it was first used with. Loggers of modules outlive a test, so a
    program that a test runs in this process must not have them do that.
    """
    configure = structlog.configure

    def configure_uncached(**settings: Any) -> None:
        configure(**{**settings, "cache_logger_on_first_use": False})

    monkeypatch.setattr(structlog, "configure", configure_uncached)
    structlog.reset_defaults()
    # If Rich is installed, it takes a second for a traceback.
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.dev.ConsoleRenderer(colors=False, exception_formatter=structlog.dev.plain_traceback),
        ]
    )
