"""What went wrong is looked for among an error's causes."""

from pathlib import Path

import pytest

from sweeps.checking import room


@pytest.mark.timeout(20)
def test_an_error_that_is_its_own_cause(tmp_path: Path) -> None:
    first, second = ValueError("first"), ValueError("second")
    first.__cause__, second.__cause__ = second, first
    with pytest.raises(ValueError, match="first"), room(tmp_path):
        raise first
