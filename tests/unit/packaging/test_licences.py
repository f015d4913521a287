"""The file with all licence texts is complete."""

from __future__ import annotations

from pathlib import Path

import pytest
from packageurl import PackageURL

from licences import MissingTextError, document
from owners import Owner


@pytest.fixture
def own(tmp_path: Path) -> Path:
    path = tmp_path / "LICENSE"
    path.write_text("ours\n")
    return path


def owner(name: str, *texts: Path) -> Owner:
    return Owner(name, "1.2", PackageURL("pypi", name=name, version="1.2"), ("MIT",), texts=texts)


def written(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


def test_document_has_our_text_and_then_each_owners_in_order(own: Path, tmp_path: Path) -> None:
    first, second = written(tmp_path / "a", "text of a\n\n"), written(tmp_path / "b", "text of b")
    shown = document(own, "3.0", [owner("b", second), owner("a", first)])
    places = [
        shown.index(each) for each in ("MiniCloud 3.0", "ours", "a 1.2 (MIT)", "text of a", "text of b")
    ]
    assert places == sorted(places)
    assert shown == document(own, "3.0", [owner("a", first), owner("b", second)])


def test_text_that_is_there_already_is_named(own: Path, tmp_path: Path) -> None:
    first, second = written(tmp_path / "a", "same\n"), written(tmp_path / "b", "same  \n")
    shown = document(own, "3.0", [owner("a", first), owner("b", second)])
    assert shown.count("same\n") == 1
    assert "b: the same as that of a 1.2 (MIT)" in shown


def test_owner_without_a_text_is_an_error_that_says_where_to_put_it(own: Path) -> None:
    with pytest.raises(MissingTextError, match=r"nobody comes without .* packaging/licences/nobody\.txt"):
        document(own, "3.0", [owner("nobody")])


@pytest.mark.skipif(not Path("/usr/share/common-licenses/Apache-2.0").exists(), reason="needs Debian's texts")
def test_licence_that_a_text_only_names_is_there_as_well(own: Path, tmp_path: Path) -> None:
    text = written(tmp_path / "a", "see /usr/share/common-licenses/Apache-2.0.\n")
    shown = document(own, "3.0", [owner("a", text)])
    assert "TERMS AND CONDITIONS FOR USE, REPRODUCTION, AND DISTRIBUTION" in shown
