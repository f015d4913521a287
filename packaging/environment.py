"""This script makes the environment that make runs everything in, brings it up to date, and shows its
progress.

    python3 packaging/environment.py FOLDER run|dev|binary [--with-this-python]

The environment is a venv with the packages that requirements/ lists for that part, and MiniCloud itself,
editable. `--with-this-python` makes it again where it has another Python than the one that runs this.

Always holds: the marker in the folder lists only parts that were finished; a part that was begun and could
not be finished, for whatever reason, is removed, or made again the next time where even that was not
possible; only an environment is ever removed. One process at a time works on the environments of a source
tree. The tests in `tests/packaging/test_environment.py` keep these (DESIGN 75).

It runs before anything is installed, so it uses the standard library alone.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import re
import select
import shutil
import signal
import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NoReturn, TextIO

ROOT = Path(__file__).resolve().parent.parent
MARKER = ".minicloud.json"
PARTS = {"run": ("run",), "dev": ("run", "dev"), "binary": ("binary",)}
PURPOSES = {"run": "running", "dev": "developing", "binary": "building the executable"}

_REDRAWN_S = 0.2
_LINE_EVERY_S = 5.0
_LAST_LINES = 15


class EnvironmentFailedError(Exception):
    """The environment cannot be made; the text has the cause and the remedy."""


class Progress:
    """A `Progress` shows a wait: one line that is drawn over on a terminal, a line now and then elsewhere."""

    def __init__(self, stream: TextIO, now_s: Callable[[], float] = time.monotonic) -> None:
        self._stream = stream
        self._terminal = stream.isatty()
        self._now_s = now_s
        self._began_s = now_s()
        self._next_s = 0.0
        self._what = ""

    def begin(self, what: str) -> None:
        """Begin to show the wait for `what`."""
        self._what, self._began_s, self._next_s = what, self._now_s(), 0.0
        self.at("")

    def at(self, detail: str) -> None:
        """Show that the wait has come to `detail`."""
        now_s = self._now_s()
        if now_s < self._next_s:
            return
        self._next_s = now_s + (_REDRAWN_S if self._terminal else _LINE_EVERY_S)
        elapsed_s = int(now_s - self._began_s)
        line = self._what + (f", {elapsed_s} s" if elapsed_s else "") + (f": {detail}" if detail else "")
        if not self._terminal:
            print(line, file=self._stream, flush=True)
            return
        with suppress(OSError, ValueError):
            line = line[: max(20, os.get_terminal_size(self._stream.fileno()).columns or 80) - 1]
        print(f"\r{line}\x1b[K", end="", file=self._stream, flush=True)

    def end(self, text: str = "") -> None:
        """Leave `text` in place of the line."""
        if self._terminal:
            print("\r\x1b[K", end="", file=self._stream)
        if text:
            print(text, file=self._stream)
        self._stream.flush()


class PipOutput:
    """A `PipOutput` reads pip's progress from its output. `changing` is set once pip changes the
    environment."""

    _WORK = re.compile(
        r"\s*(Downloading|Using cached|Building|Preparing|Processing) (\S+)(?: (\([\d.]+ .?B\)))?"
    )

    def __init__(self, most: int) -> None:
        self._most = most
        self._found = 0
        self.changing = False

    def read(self, line: str) -> str:
        """Return the progress to show after this line of output."""
        if line.startswith("Installing collected packages"):
            self.changing = True
            return f"unpacking {line.count(',') + 1} packages"
        if line.startswith("Collecting "):
            self._found += 1
        work = self._WORK.match(line)
        name = line.split()[1] if line.startswith("Collecting ") else ""
        if work:
            doing = f"{work[1].lower()} {work[2].rpartition('/')[2]} {work[3] or ''}".rstrip()
        else:
            doing = name
        return f"package {self._found} of at most {self._most}, {doing}" if doing else ""


class Environment:
    """An `Environment` is the environment in `folder`, which may be missing or unfinished."""

    def __init__(self, folder: Path, progress: Progress) -> None:
        self._folder = folder
        self._progress = progress
        self._python = folder / "bin" / "python"
        self._marked: dict[str, Any] = self._read_marker()

    def has(self, part: str) -> bool:
        """Return True if everything of `part` is installed, by requirements/ as it is now."""
        parts = self._marked.get("parts", {})
        return all(parts.get(each) == _wanted(each) for each in PARTS[part])

    def fault(self, base: Sequence[str] | None) -> str:
        """Return the reason for which it cannot be used at all; empty if it can. `base` is the Python it must
        have, None for any."""
        if not self._marked.get("parts"):
            return "it was not finished"
        if self._marked.get("folder") != str(self._folder):
            return f"it was made in {self._marked.get('folder')}"
        if base is not None and self._marked.get("base") != list(base):
            return "it has another Python"
        version = self._version()
        if version == self._marked.get("version"):
            return ""
        return f"its Python is now {version}" if version else "its Python does not run any more"

    def make(self, base: Sequence[str]) -> None:
        """Make an empty environment in its place, by the Python that runs this."""
        if self._folder.exists():
            self.remove()
        self._folder.mkdir(parents=True)
        version = "{}.{}".format(*sys.version_info)
        self._marked = {"folder": str(self._folder), "version": version, "base": list(base), "parts": {}}
        self._write_marker()
        self._progress.begin(f"creating {_shown(self._folder)} with Python {version}")
        command = [_base_executable(), "-I", "-m", "venv", str(self._folder)]
        code, last = self._watch(command)
        if code != 0:
            self._progress.end()
            raise EnvironmentFailedError(
                f"could not create {_shown(self._folder)}: {' '.join(last[-3:]) or f'exit code {code}'}"
            )

    def install(self, part: str) -> None:
        """Install the packages that requirements/ lists for `part`."""
        requirements = ROOT / "requirements" / f"{part}.txt"
        self._progress.begin(f"installing what {PURPOSES[part]} needs")
        began_s = time.monotonic()
        output = PipOutput(len(re.findall(r"^\w.*==", requirements.read_text("utf-8"), re.MULTILINE)))
        before = dict(self._marked)

        def read(line: str) -> str:
            shown = output.read(line)
            if output.changing:
                self._begin_changing()
            return shown

        code, last = self._watch(self._pip("--require-hashes", "--requirement", str(requirements)), read)
        if code == 0 and part != "dev":
            self._progress.begin("installing MiniCloud itself")
            self._begin_changing()
            code, last = self._watch(self._pip("--no-deps", "--no-build-isolation", "--editable", str(ROOT)))
        if code != 0:
            self._progress.end()
            print("\n".join(last), file=sys.stderr)
            raise EnvironmentFailedError(
                f"could not install what {PURPOSES[part]} needs: see above; is the package index reachable?"
            )
        self._marked = before | {"parts": before["parts"] | {part: _wanted(part)}}
        self._write_marker()
        self._progress.end(f"installed what {PURPOSES[part]} needs, in {time.monotonic() - began_s:.0f} s")

    @property
    def usable(self) -> bool:
        """Return True if a part of it is finished, and none is begun."""
        return bool(self._marked.get("parts"))

    def remove(self) -> None:
        """Remove it. Raises `EnvironmentFailedError` where the folder is something else."""
        entries = list(self._folder.iterdir())
        names = {entry.name for entry in entries}
        if names and not names & {MARKER, "pyvenv.cfg"}:
            raise EnvironmentFailedError(
                f"{self._folder} is there and is no environment: name another one, make VENV=FOLDER"
            )
        # The marker is removed last: it identifies the rest of a removal that was cut short.
        for entry in sorted(entries, key=lambda entry: entry.name == MARKER):
            if entry.is_dir() and not entry.is_symlink():
                shutil.rmtree(entry)
            else:
                entry.unlink()
        if not self._folder.is_symlink():
            self._folder.rmdir()

    def _version(self) -> str:
        """Return the version of its Python, as in 3.11; empty where that does not run."""
        if Path(sys.prefix) == self._folder:  # that Python runs this script
            return "{}.{}".format(*sys.version_info)
        show = "import sys; print('%d.%d' % sys.version_info[:2])"
        try:
            shown = subprocess.run([self._python, "-I", "-c", show], capture_output=True, encoding="utf-8")
        except OSError:
            return ""
        return shown.stdout.strip()

    def _begin_changing(self) -> None:
        if self._marked["parts"]:
            self._marked["parts"] = {}
            self._write_marker()

    def _pip(self, *arguments: str) -> list[str]:
        options = ("--disable-pip-version-check", "--no-input", "--progress-bar=off")
        return [str(self._python), "-I", "-m", "pip", "install", *options, *arguments]

    def _watch(
        self, command: Sequence[str], read: Callable[[str], str] = lambda line: ""
    ) -> tuple[int, list[str]]:
        """Run `command` and show the result of `read` for each of its lines; return its exit code and last
        lines."""
        last: deque[str] = deque(maxlen=_LAST_LINES)
        detail, rest = "", b""
        with _running(command) as process:
            assert process.stdout is not None
            while True:
                ready, _, _ = select.select([process.stdout], [], [], _REDRAWN_S)
                if ready:
                    data = os.read(process.stdout.fileno(), 65536)
                    if not data:
                        return process.wait(), list(last)
                    *lines, rest = (rest + data).split(b"\n")
                    for line in (each.decode("utf-8", "replace").rstrip() for each in lines):
                        last.append(line)
                        detail = read(line) or detail
                self._progress.at(detail)

    def _read_marker(self) -> dict[str, Any]:
        try:
            marked = json.loads((self._folder / MARKER).read_text("utf-8"))
        except (OSError, ValueError):
            return {}
        return marked if isinstance(marked, dict) else {}

    def _write_marker(self) -> None:
        path = self._folder / MARKER
        unfinished = path.with_suffix(".unfinished")
        unfinished.write_text(json.dumps(self._marked, indent=1), encoding="utf-8")
        unfinished.replace(path)


def main(arguments: Sequence[str]) -> int:
    """Bring the environment up to date and return the exit code."""
    folder, part = Path(os.path.abspath(arguments[0])), arguments[1]
    base = [sys.version, os.path.realpath(_base_executable())]
    wanted_base = base if "--with-this-python" in arguments else None
    try:
        with _alone():
            _bring_up_to_date(Environment(folder, Progress(sys.stderr)), folder, part, base, wanted_base)
    except EnvironmentFailedError as error:
        print(error, file=sys.stderr)
        return 1
    except OSError as error:
        print(f"could not make {_shown(folder)}: {error}", file=sys.stderr)
        return 1
    return 0


def _bring_up_to_date(
    environment: Environment, folder: Path, part: str, base: Sequence[str], wanted: Sequence[str] | None
) -> None:
    fault = environment.fault(wanted) if folder.exists() else "it is not there"
    if not fault and part == "binary" and not environment.has(part):
        fault = "what it needs has changed"  # no old file may come into the executable
    if not fault and environment.has(part):
        return
    try:
        if fault:
            if folder.exists() and any(folder.iterdir()):
                print(f"making {_shown(folder)} again: {fault}", file=sys.stderr)
            environment.make(base)
        for each in PARTS[part]:
            if not environment.has(each):
                environment.install(each)
    except BaseException:
        if not environment.usable:
            with _undisturbed(), suppress(OSError, EnvironmentFailedError):
                environment.remove()
        raise


def _wanted(part: str) -> str:
    """Return a sum over the files that an installation of `part` depends on."""
    names = [f"requirements/{part}.txt"]
    if part != "dev":  # MiniCloud itself is installed, with its commands and version
        names += ["pyproject.toml", "minicloud/__init__.py"]
    return hashlib.sha256(b"\0".join((ROOT / name).read_bytes() for name in names)).hexdigest()


def _base_executable() -> str:
    return str(getattr(sys, "_base_executable", "") or sys.executable)


def _shown(folder: Path) -> str:
    return os.path.relpath(folder) if folder.is_relative_to(Path.cwd()) else str(folder)


@contextmanager
def _running(command: Sequence[str]) -> Iterator[subprocess.Popen[bytes]]:
    """Run a process whose output is read in the block; kill it at the end of the block."""
    env = {name: value for name, value in os.environ.items() if name not in ("PIP_TARGET", "PIP_PREFIX")}
    env |= {"PIP_USER": "0", "PIP_QUIET": "0", "PYTHONUNBUFFERED": "1"}
    process = subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=env
    )
    try:
        yield process
    finally:
        with _undisturbed():
            if process.poll() is None:
                process.kill()
            process.wait()
            assert process.stdout is not None
            process.stdout.close()


@contextmanager
def _undisturbed() -> Iterator[None]:
    """Ignore Ctrl-C until the end of the block."""
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


@contextmanager
def _alone() -> Iterator[None]:
    """Wait until no other process works on an environment of this source tree."""
    descriptor = os.open(ROOT, os.O_RDONLY)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print("waiting for another make, which is installing", file=sys.stderr)
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


class _EndedError(BaseException):
    """A signal asks for the end of the process."""

    def __init__(self, number: int) -> None:
        self.number = number


def _end(number: int, _: object) -> NoReturn:
    raise _EndedError(number)


def _die_of(number: int) -> NoReturn:
    """End by the signal, as make expects of an interrupted program. make writes the line."""
    signal.signal(number, signal.SIG_DFL)
    signal.raise_signal(number)
    raise AssertionError("the signal ends the process")


def run(arguments: Sequence[str]) -> NoReturn:
    """Bring the environment up to date and end the process; after a signal as if it had no handler."""
    for each in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
        if signal.getsignal(each) is not signal.SIG_IGN:
            signal.signal(each, _end)
    try:
        sys.exit(main(arguments))
    except _EndedError as ended:
        _die_of(ended.number)


if __name__ == "__main__":
    run(sys.argv[1:])
