"""The environment that make runs everything in is made once, made again where it has to be, and never half
made.

`python_stand_in.py` stands in for Python and pip; `.ci/stranger.py` makes a real environment.
"""

from __future__ import annotations

import io
import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import environment
from tests.terminal import CTRL_C, Terminal

ROOT = Path(__file__).resolve().parents[2]
STAND_IN = Path(__file__).with_name("python_stand_in.py")
WITHIN_S = 60.0

PROGRAM = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
import environment
environment.ROOT = Path(sys.argv[2])
environment._base_executable = lambda: sys.argv[3]
environment.run(sys.argv[4:])
"""


class Tree:
    """A `Tree` is a source tree with an environment folder, and a list of the installations in it so far."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.folder = root / ".venv"
        self.log = root / "log"
        self.fault = ""
        self.python = root / "python"
        for name in ("requirements", "minicloud"):
            (root / name).mkdir(parents=True, exist_ok=True)
        for name in ("requirements/run.txt", "requirements/dev.txt", "requirements/binary.txt"):
            (root / name).write_text("trio==0.35.0\nattrs==26.1.0\n", "utf-8")
        (root / "pyproject.toml").write_text("[project]\n", "utf-8")
        (root / "minicloud" / "__init__.py").touch()
        self.python.write_text(f'#!/bin/sh\nexec "{sys.executable}" -S -E "{STAND_IN}" "$@"\n', "utf-8")
        self.python.chmod(0o755)

    def command(self, part: str, *more: str) -> list[str]:
        arguments = (str(ROOT / "packaging"), str(self.root), str(self.python), str(self.folder), part)
        return [sys.executable, "-I", "-c", PROGRAM, *arguments, *more]

    @property
    def env(self) -> dict[str, str]:
        kept = {"PATH": os.environ["PATH"], "LANG": "C.UTF-8"}
        return kept | {"STAND_IN": self.fault, "STAND_IN_LOG": str(self.log)}

    def make(self, part: str = "run", *more: str) -> str:
        """Make the environment and return what is shown of that; raise an assertion error where it fails."""
        code, shown = self.try_to_make(part, *more)
        assert code == 0, shown
        return shown

    def try_to_make(self, part: str = "run", *more: str) -> tuple[int, str]:
        done = subprocess.run(
            self.command(part, *more),
            env=self.env,
            cwd=self.root,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            encoding="utf-8",
            timeout=WITHIN_S,
            check=False,
        )
        return done.returncode, done.stdout

    @property
    def installed(self) -> list[str]:
        """Return the last word of each installation so far: a requirements file's name, or the tree's."""
        if not self.log.exists():
            return []
        return [Path(line.split(" ", 1)[1]).name for line in self.log.read_text("utf-8").splitlines()]


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    return Tree(tmp_path / "a tree")


def test_environment_is_made_once_with_what_each_part_needs(tree: Tree) -> None:
    shown = tree.make("run")
    assert "creating .venv with Python" in shown
    assert "installed what running needs" in shown
    assert tree.installed == ["run.txt", "a tree"]
    assert tree.make("run") == ""
    tree.make("dev")
    assert tree.installed == ["run.txt", "a tree", "dev.txt"]
    assert tree.make("run") == tree.make("dev") == ""


@pytest.mark.parametrize(
    ("changed", "again"),
    [
        ("requirements/run.txt", ["run.txt", "a tree"]),
        ("requirements/dev.txt", ["dev.txt"]),
        ("pyproject.toml", ["run.txt", "a tree"]),
    ],
)
def test_environment_is_brought_up_to_date_where_what_it_needs_has_changed(
    tree: Tree, changed: str, again: list[str]
) -> None:
    tree.make("dev")
    before = len(tree.installed)
    with (tree.root / changed).open("a", encoding="utf-8") as file:
        file.write("# changed\n")
    assert "creating" not in tree.make("dev")
    assert tree.installed[before:] == again


def test_environment_of_the_executable_starts_from_nothing_where_anything_has_changed(tree: Tree) -> None:
    tree.make("binary")
    (tree.folder / "left-over").touch()
    (tree.root / "minicloud" / "__init__.py").write_text("__version__ = '2'\n", "utf-8")
    assert "making .venv again: what it needs has changed" in tree.make("binary")
    assert not (tree.folder / "left-over").exists()


def test_environment_in_a_folder_that_was_moved_is_made_again(tree: Tree, tmp_path: Path) -> None:
    tree.make()
    shutil.move(tree.root, tmp_path / "elsewhere")
    moved = Tree(tmp_path / "elsewhere")
    shown = moved.make()
    assert f"making .venv again: it was made in {tree.folder}" in shown
    assert "installed what running needs" in shown


def test_environment_whose_python_is_gone_or_is_another_is_made_again(tree: Tree) -> None:
    tree.make()
    (tree.folder / "bin" / "python").unlink()
    assert "making .venv again: its Python does not run any more" in tree.make()
    assert tree.make("run", "--with-this-python") == ""
    marker = tree.folder / environment.MARKER
    marked = json.loads(marker.read_text("utf-8"))
    marker.write_text(json.dumps(marked | {"base": ["3.10.1", "/usr/bin/python3"]}), "utf-8")
    assert tree.make("run") == ""
    assert "making .venv again: it has another Python" in tree.make("run", "--with-this-python")
    marker.write_text(json.dumps(marked | {"version": "3.10"}), "utf-8")
    assert "making .venv again: its Python is now 3." in tree.make("run")


@pytest.mark.parametrize("left", ["pyvenv.cfg", "bin/python3", ".minicloud.json"])
def test_environment_left_half_made_is_made_again(tree: Tree, left: str) -> None:
    # This is left by a process that was killed, or from before there was a marker.
    (tree.folder / "bin").mkdir(parents=True)
    (tree.folder / "pyvenv.cfg").touch()
    (tree.folder / left).write_text("{}", "utf-8")
    assert "making .venv again: it was not finished" in tree.make()
    assert tree.make() == ""


def test_folder_that_is_no_environment_is_left_alone(tree: Tree) -> None:
    tree.folder.mkdir()
    (tree.folder / "letters").write_text("dear", "utf-8")
    code, shown = tree.try_to_make()
    assert code == 1
    assert shown.endswith("is there and is no environment: name another one, make VENV=FOLDER\n")
    assert (tree.folder / "letters").read_text("utf-8") == "dear"


@pytest.mark.parametrize("fault", ["venv-fails", "pip-fails"])
def test_environment_that_cannot_be_made_is_removed_and_made_at_the_next_attempt(
    tree: Tree, fault: str
) -> None:
    tree.fault = fault
    code, shown = tree.try_to_make()
    assert code == 1
    assert "ensurepip is not available" in shown or "ERROR: no network" in shown
    assert shown.splitlines()[-1].startswith("could not ")
    assert not tree.folder.exists()
    tree.fault = ""
    tree.make()


def test_environment_that_pip_has_not_begun_to_change_stays_usable_when_it_fails(tree: Tree) -> None:
    tree.make("run")
    tree.fault = "pip-fails"
    assert tree.try_to_make("dev")[0] == 1
    assert tree.make("run") == ""


@pytest.mark.parametrize(
    ("fault", "shown"),
    [("venv-hangs", "creating .venv"), ("pip-hangs", "trio-0.35.0"), ("pip-hangs-unpacking", "unpacking 2")],
)
def test_environment_interrupted_at_any_time_is_removed_and_made_at_the_next_attempt(
    tree: Tree, fault: str, shown: str
) -> None:
    tree.fault = fault
    with Terminal(tree.command("run"), env=tree.env, cwd=tree.root) as terminal:
        terminal.until_shown(shown)
        terminal.press(CTRL_C)
        assert terminal.exit_code() == -signal.SIGINT
        assert "Traceback" not in terminal.shown
    assert not tree.folder.exists()
    tree.fault = ""
    tree.make()


def test_environment_interrupted_while_it_is_changed_is_removed_and_no_sooner(tree: Tree) -> None:
    tree.make("run")
    for fault, shown, stays in (
        ("pip-hangs", "trio-0.35", True),
        ("pip-hangs-unpacking", "unpacking", False),
    ):
        tree.fault = fault
        with Terminal(tree.command("dev"), env=tree.env, cwd=tree.root) as terminal:
            terminal.until_shown(shown)
            terminal.press(CTRL_C)
            assert terminal.exit_code() == -signal.SIGINT
        assert tree.folder.exists() is stays


def test_environment_whose_terminal_is_closed_meanwhile_is_removed(tree: Tree) -> None:
    tree.fault = "pip-hangs-unpacking"
    with Terminal(tree.command("run"), env=tree.env, cwd=tree.root) as terminal:
        terminal.until_shown("unpacking 2")
        terminal.hang_up()
        assert terminal.exit_code() == -signal.SIGHUP
    assert not tree.folder.exists()


def test_environment_is_made_by_one_process_at_a_time(tree: Tree) -> None:
    tree.fault = "pip-hangs"
    with Terminal(tree.command("run"), env=tree.env, cwd=tree.root) as first:
        first.until_shown("trio-0.35")
        with Terminal(tree.command("run"), env=tree.env | {"STAND_IN": ""}, cwd=tree.root) as second:
            second.until_shown("waiting for another make")
            first.press(CTRL_C)
            assert first.exit_code() == -signal.SIGINT
            assert second.exit_code() == 0
    assert tree.installed == ["run.txt", "a tree"]


class Screen(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_progress_elsewhere_than_on_a_terminal_is_a_line_now_and_then() -> None:
    now_s = [0.0]
    stream = io.StringIO()
    progress = environment.Progress(stream, lambda: now_s[0])
    progress.begin("unpacking")
    for _ in range(120):
        now_s[0] += 0.1
        progress.at("trio")
    assert stream.getvalue().splitlines() == ["unpacking", "unpacking, 5 s: trio", "unpacking, 10 s: trio"]


def test_progress_on_a_terminal_is_one_line_that_ends_as_the_result() -> None:
    now_s = [0.0]
    stream = Screen()
    progress = environment.Progress(stream, lambda: now_s[0])
    progress.begin("unpacking")
    now_s[0] += 3.0
    progress.at("trio")
    progress.end("done")
    assert stream.getvalue() == "\runpacking\x1b[K\runpacking, 3 s: trio\x1b[K\r\x1b[Kdone\n"


def test_output_of_pip_is_shown_as_packages_so_far_and_the_one_at_hand() -> None:
    output = environment.PipOutput(40)
    assert (
        output.read("Collecting trio==0.35.0 (from -r x (line 1))") == "package 1 of at most 40, trio==0.35.0"
    )
    assert output.read("  Downloading trio-0.35.0.whl (511 kB)").endswith(
        "downloading trio-0.35.0.whl (511 kB)"
    )
    assert output.read("Processing /wheels/a.whl (from -r x (line 2))").endswith(", processing a.whl")
    assert output.read("Requirement already satisfied: pip") == ""
    assert not output.changing
    assert output.read("Installing collected packages: attrs, trio") == "unpacking 2 packages"
    assert output.changing


# environment.sh


def find(tmp_path: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run environment.sh where `python3` in `tmp_path`, if there is one, is the only Python."""
    command = [
        "/bin/sh",
        str(ROOT / "packaging" / "environment.sh"),
        str(tmp_path / "env"),
        "run",
        *arguments,
    ]
    path = f"{tmp_path}:{tmp_path / 'tools'}"
    (tmp_path / "tools").mkdir()
    dirname = shutil.which("dirname")
    assert dirname is not None
    (tmp_path / "tools" / "dirname").symlink_to(dirname)
    return subprocess.run(
        command, env={"PATH": path}, capture_output=True, encoding="utf-8", timeout=WITHIN_S, check=False
    )


def python_that(folder: Path, name: str, code: str) -> Path:
    """Write a Python that runs `code` before all else."""
    (folder / "changes.py").write_text(code, "utf-8")
    python = folder / name
    python.write_text(
        "#!/bin/sh\n"
        f'shift; PYTHONPATH="{folder}" exec "{sys.executable}" -c '
        "'import changes, sys; exec(sys.stdin.read())' \"$@\"\n",
        "utf-8",
    )
    python.chmod(0o755)
    return python


def test_no_python_at_all_is_one_line_that_says_what_to_do(tmp_path: Path) -> None:
    done = find(tmp_path)
    assert done.returncode == 1
    assert done.stderr == (
        "MiniCloud needs Python 3.11 or newer with venv. "
        "Install it, or name it: make PYTHON=/path/to/python3.\n"
    )


WITHOUT_VENV = "import sys; sys.modules['ensurepip'] = None; sys.executable = '/usr/bin/python3'"
TOO_OLD = "import sys; sys.version_info = (3, 10, 2, 'final', 0); sys.executable = '/usr/bin/python3'"


@pytest.mark.parametrize(
    ("code", "why"),
    [
        (
            WITHOUT_VENV,
            "/usr/bin/python3 cannot make environments: on Debian and Ubuntu, apt install python3.",
        ),
        (TOO_OLD, "/usr/bin/python3 is Python 3.10"),
    ],
    ids=["without venv", "too old"],
)
@pytest.mark.parametrize("given", [False, True], ids=["found", "given"])
def test_python_that_does_not_suit_is_refused_with_the_remedy_and_nothing_is_left(
    tmp_path: Path, code: str, why: str, given: bool
) -> None:
    python = python_that(tmp_path, "python3", code)
    done = find(tmp_path, *([str(python)] if given else []))
    assert done.returncode == 1
    assert done.stderr.startswith("MiniCloud needs Python 3.11 or newer with venv. ")
    assert why in done.stderr
    assert done.stderr.count("\n") == 1
    assert not (tmp_path / "env").exists()
