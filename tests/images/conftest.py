"""Pictures that others met, where they are at hand."""

from pathlib import Path

import pytest

from tests.support import SHARED


@pytest.fixture(scope="session")
def cases() -> Path:
    """The folder of odd pictures of one portrait, 512×600 upright, with one face."""
    folder = SHARED / "cases" / "pictures"
    if not folder.is_dir():
        pytest.skip(f"{SHARED.name}/cases is not beside the project: the odd pictures are not at hand")
    return folder
