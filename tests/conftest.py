"""Which tests there are, and what all of them start from: the same environment, whoever starts them."""

from __future__ import annotations

import os
import signal
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import structlog

# What a test and the processes it starts see of the environment: where programs and folders are, and what
# pytest, its plugins, pip and Python's own caches are set to. All else stays outside: settings of MiniCloud,
# the size and colours of a terminal, locale, timezone, proxies, the sockets of a service manager.
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
    """`packaged` is about a built executable: it is there where MINICLOUD_EXECUTABLE names one, as `make
    test-binary` does."""
    return True if collection_path.name == "packaged" and "MINICLOUD_EXECUTABLE" not in os.environ else None


def pytest_configure() -> None:
    """Make environment, file modes and signals the same for everybody."""
    kept = environment_for_tests(os.environ)
    for name in set(os.environ) - set(kept):
        del os.environ[name]
    os.environ.update(kept)
    os.umask(0o022)
    # A shell starts what it puts in the background deaf to Ctrl-C, and nohup(1) starts a program deaf to the
    # end of its terminal. So would be all that tests start: an ignored signal stays ignored in a new program,
    # and one that has a handler does not.
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
        signal.signal(signal.SIGHUP, lambda *_: None)


def environment_for_tests(env: Mapping[str, str]) -> dict[str, str]:
    """Return the part of `env` that tests may depend on, and what is set for them."""
    kept = {name: value for name, value in env.items() if name in _KEPT or name.startswith(_KEPT_PREFIXES)}
    return kept | _SET


@pytest.fixture(autouse=True)
def _log_of_nobody_before(monkeypatch: pytest.MonkeyPatch) -> None:
    """Undo what a program that ran in this process before has set the log to.

    In a program, a logger keeps what it was first used with. Loggers of modules outlive a test, so that a
    program that a test runs in this process must not have them do that.
    """
    configure = structlog.configure

    def configure_uncached(**settings: Any) -> None:
        configure(**{**settings, "cache_logger_on_first_use": False})

    monkeypatch.setattr(structlog, "configure", configure_uncached)
    structlog.reset_defaults()
    # Rich, where it is installed, takes a second for a traceback.
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.dev.ConsoleRenderer(colors=False, exception_formatter=structlog.dev.plain_traceback),
        ]
    )
