"""Studies by name or from a file."""

from pathlib import Path
from typing import TYPE_CHECKING

from basin.errors import UsageError
from cli.plugins import load_plugins
from sweeps.study.document import Document

if TYPE_CHECKING:
    from sweeps.study.study import Study


def open_study(name: str, document: Document | None, data: Path | None, schedule: str | None) -> "Study":
    """Build a study by its name, or from its file.

    Raises UsageError for an unknown name, an invalid file, and a schedule of a study file, which states its own.
    """
    if document is None:
        from sweeps.study.catalog import build

        return build(name, data, schedule or "short")
    if schedule:
        raise UsageError(f'--schedule {schedule}: a study file states its own: write schedule = "{schedule}" in {name}')
    from sweeps.search.samplers import find_sampler
    from sweeps.study.study_file import study_from_document

    load_plugins(document.texts("import"), document.file.parent)
    study = study_from_document(document, data)
    with document.located("sampler"):
        find_sampler(study.sampler)
    return study
