"""A child of this program starts with the right command and environment."""

from __future__ import annotations

from minicloud.cli.itself import child_environment

RESET = {"PYINSTALLER_RESET_ENVIRONMENT": "1"}
BOOTLOADERS = {"_PYI_ARCHIVE_FILE": "/x", "_PYI_PARENT_PROCESS_LEVEL": "0", "LD_LIBRARY_PATH": "/tmp/_MEI1"}


def test_child_environment_holds_no_settings_of_ours() -> None:
    assert child_environment({"PATH": "/bin", "MINICLOUD_ID": "w", "GRPC_SERVER_PORT": "1"}) == {
        "PATH": "/bin",
        **RESET,
    }


def test_child_environment_holds_nothing_of_the_bootloaders() -> None:
    assert child_environment({"PATH": "/bin", **BOOTLOADERS}) == {"PATH": "/bin", **RESET}


def test_child_environment_has_the_users_libraries_again() -> None:
    env = {**BOOTLOADERS, "LD_LIBRARY_PATH_ORIG": "/opt/lib"}
    assert child_environment(env) == {"LD_LIBRARY_PATH": "/opt/lib", **RESET}


def test_child_environment_without_a_bootloader_keeps_the_users_libraries() -> None:
    env = {"LD_LIBRARY_PATH": "/opt/lib", "LD_LIBRARY_PATH_ORIG": "theirs"}
    assert child_environment(env) == {**env, **RESET}
