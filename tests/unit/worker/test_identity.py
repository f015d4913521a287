"""The installation's id is kept, made anew where it must be, and never half written."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from random import Random

import pytest
from structlog.testing import capture_logs

from minicloud.core.errors import ConfigError, NotYetError
from minicloud.worker.identity import FILE_NAME, exclusive, instance_id_in
from tests.unit.worker.fakes import events


def test_identity_made_once_is_found_again(tmp_path: Path) -> None:
    folder = tmp_path / "var" / "lib" / "minicloud"  # the folder is made as well
    with capture_logs() as logs:
        made = instance_id_in(folder, Random(1))
    assert len(made) == 32
    assert set(made) <= set("0123456789abcdef")
    assert [entry["event"] for entry in logs] == ["instance_id_made"]
    with capture_logs() as logs:
        assert instance_id_in(folder, Random(2)) == made
    assert logs == []
    assert os.listdir(folder) == [FILE_NAME]


def test_identity_comes_from_the_random_it_is_given(tmp_path: Path) -> None:
    assert instance_id_in(tmp_path / "a", Random(7)) == instance_id_in(tmp_path / "b", Random(7))
    assert instance_id_in(None, Random(7)) != instance_id_in(None, Random(8))


def test_identity_without_a_data_folder_is_fresh_each_time() -> None:
    random = Random(1)
    assert instance_id_in(None, random) != instance_id_in(None, random)


@pytest.mark.parametrize(
    "content",
    [b"", b"\n", b"0" * 31, b"0" * 33, b"G" * 32, b"A" * 32, b"\xff" * 32, b"0" * 32 + b"\n" + b"1" * 32],
    ids=["empty", "blank", "short", "long", "no hex", "upper case", "no text", "two"],
)
def test_identity_damaged_is_made_anew_with_a_warning(tmp_path: Path, content: bytes) -> None:
    (tmp_path / FILE_NAME).write_bytes(content)
    with capture_logs() as logs:
        made = instance_id_in(tmp_path, Random(3))
    (warning,) = events(logs, "instance_id_damaged")
    assert warning["log_level"] == "warning"
    assert warning["instance_id"] == made
    assert instance_id_in(tmp_path, Random(4)) == made


def test_identity_written_by_hand_with_spaces_around_is_accepted(tmp_path: Path) -> None:
    (tmp_path / FILE_NAME).write_text("  " + "ab" * 16 + "  \r\n")
    assert instance_id_in(tmp_path, Random(3)) == "ab" * 16


def test_identity_left_half_written_by_a_crash_does_not_stand_in_the_way(tmp_path: Path) -> None:
    (tmp_path / f".{FILE_NAME}.new").write_text("012")
    made = instance_id_in(tmp_path, Random(3))
    assert instance_id_in(tmp_path, Random(4)) == made
    assert os.listdir(tmp_path) == [FILE_NAME]


def test_identity_in_a_folder_that_cannot_be_is_a_config_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError) as caught:
        instance_id_in(tmp_path / "file" / "data", Random(1))
    text = str(caught.value)
    assert str(tmp_path / "file" / "data") in text
    assert "Not a directory" in text
    assert "--data-dir" in text
    assert "\n" not in text


def test_identity_that_cannot_be_read_is_not_replaced(tmp_path: Path) -> None:
    (tmp_path / FILE_NAME).symlink_to(FILE_NAME)  # a loop: it can be replaced, but not read
    with pytest.raises(ConfigError):
        instance_id_in(tmp_path, Random(1))
    assert (tmp_path / FILE_NAME).is_symlink()


def test_identity_that_cannot_be_written_whole_leaves_nothing_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(fd: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(NotYetError, match="No space left on device"):
        instance_id_in(tmp_path, Random(1))
    assert os.listdir(tmp_path) == []


def test_folder_held_by_one_worker_is_refused_to_another_until_let_go(tmp_path: Path) -> None:
    folder = tmp_path / "new"
    with exclusive(folder):
        with pytest.raises(NotYetError) as caught, exclusive(folder):
            pass
        text = str(caught.value)
        assert str(folder) in text
        assert "--data-dir" in text
        assert "\n" not in text
    with exclusive(folder):
        pass


def test_folder_of_a_worker_that_was_killed_is_free(tmp_path: Path) -> None:
    program = (
        "import sys, time; from pathlib import Path; from minicloud.worker.identity import exclusive\n"
        "with exclusive(Path(sys.argv[1])): print('held', flush=True); time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", program, str(tmp_path)], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"held\n"
        with pytest.raises(NotYetError), exclusive(tmp_path):
            pass
        process.kill()
    with exclusive(tmp_path):
        pass


def test_folder_that_is_none_is_anybodys() -> None:
    with exclusive(None), exclusive(None):
        pass


def test_folder_that_cannot_be_locked_is_a_config_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with (
        pytest.raises(ConfigError, match=r"file.*Not a directory.*--data-dir"),
        exclusive(tmp_path / "file" / "a"),
    ):
        pass


def test_folder_whose_user_fails_keeps_that_failure(tmp_path: Path) -> None:
    with pytest.raises(BlockingIOError), exclusive(tmp_path):
        raise BlockingIOError
