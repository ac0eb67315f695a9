"""Find the splits and classes of a source of images from the paths alone, and explain unknown layouts."""

import unicodedata
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from basin.data.archives import OTHER, Contents
from basin.data.images import is_image
from basin.data.official import MD5
from basin.errors import UsageError

SPLITS = ("train", "test", "val")
MEANT = {
    **dict.fromkeys(("train", "training", "trn"), "train"),
    **dict.fromkeys(("test", "testing", "tst"), "test"),
    **dict.fromkeys(("val", "valid", "validation", "dev", "eval"), "val"),
}
"""Folder names that people give to splits → the name that is read."""
EXPECTED = "expected train/CLASS/IMAGE and test/CLASS/IMAGE (or val/)"


@dataclass(frozen=True)
class Splits:
    """The images of a source, by split."""

    train: dict[str, str]
    """Path → class folder, as spelt in train/."""
    test: dict[str, str]
    classes: list[str]
    """Class folders of train/, sorted: their places are the labels."""
    layout: str
    passed: dict[str, str]
    """Path → why it was skipped."""
    notes: tuple[str, ...]

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the classes in composed characters."""
        return tuple(map(_composed, self.classes))


def in_split(name: str) -> bool:
    """Return True for the path of an image somewhere below a folder train, test or val."""
    return is_image(name) and any(part in SPLITS for part in name.split("/")[:-1])


def find_splits(source: Path, contents: Contents) -> Splits:
    """Find the images of both splits; raises UsageError that says what was found and what to rename."""
    top = _find_top(source, contents)
    passed, labelled = dict(contents.passed), _by_split(contents.files, top)
    test_split = "test" if labelled["test"] else "val"
    train, test = labelled["train"], labelled[test_split]
    if not train or not test:
        raise _layout_error(source, contents, top, labelled)
    classes = sorted(set(train.values()))
    _check_names(source, classes)
    _check_test_classes(source, test_split, classes, labelled)
    known = {_composed(name): name for name in classes}
    for name in contents.files:
        if name not in train and name not in test:
            passed[name] = f"not in {top}train/CLASS/ or {top}{test_split}/CLASS/"
    layout = f"{top}train/CLASS/IMAGE and {top}{test_split}/CLASS/IMAGE"
    test = {name: known[_composed(label)] for name, label in test.items()}
    return Splits(train, test, classes, layout, passed, _notes(contents, top, classes, test))


def _find_top(source: Path, contents: Contents) -> str:
    """The folder that holds train/, with a slash; the outermost one."""
    tops = {top for name in contents.files if (top := _top_of(name)) is not None}
    least = min((top.count("/") for top in tops), default=0)
    outermost = sorted(top for top in tops if top.count("/") == least)
    if len(outermost) > 1:
        raise UsageError(
            f"{source} holds {len(outermost)} datasets, {outermost[0]}train/ and {outermost[1]}train/: "
            "give the folder of one of them"
        )
    return outermost[0] if outermost else ""


def _top_of(name: str) -> str | None:
    """Part of a path before its first folder train/; None if no class folder follows."""
    folders = name.split("/")[:-1]
    place = folders.index("train") if "train" in folders else len(folders)
    return "".join(f"{part}/" for part in folders[:place]) if place + 1 < len(folders) else None


def _by_split(names: Iterable[str], top: str) -> dict[str, dict[str, str]]:
    """Split → path → class folder; images beside the class folders have no class."""
    labelled: dict[str, dict[str, str]] = {split: {} for split in SPLITS}
    for name in names:
        parts = name.removeprefix(top).split("/")
        if name.startswith(top) and parts[0] in SPLITS and len(parts) > 2:
            labelled[parts[0]][name] = parts[1]
    return labelled


def _check_names(source: Path, classes: list[str]) -> None:
    """Raise UsageError for two class folders whose names look alike: one class, in two spellings."""
    spelt: dict[str, str] = {}
    for name in classes:
        if (other := spelt.setdefault(_plain(name), name)) != name and _composed(other).strip() == _composed(
            name
        ).strip():
            raise UsageError(
                f"{source}: train/{other}/ and train/{name}/ are one name in two spellings "
                f"({other.encode()!r}, {name.encode()!r}): rename one of them"
            )


def _check_test_classes(source: Path, split: str, classes: list[str], labelled: Mapping[str, dict[str, str]]) -> None:
    known = {_composed(name) for name in classes}
    unknown = sorted({name for name in labelled[split].values() if _composed(name) not in known})
    if not unknown:
        return
    first, more = unknown[0], f" and {len(unknown) - 1} more" if len(unknown) > 1 else ""
    near = next((name for name in classes if _plain(name) == _plain(first)), None)
    if near is not None:
        advice = f"train/ spells it {near!r} and {split}/ {first!r}: rename one of them"
    elif split == "test" and {_composed(name) for name in labelled["val"].values()} <= known and labelled["val"]:
        advice = "the classes of train/ are in val/: to test on val/, move test/ away"
    else:
        advice = f"classes are the folders in {split}/; remove it, or add the class to train/"
    raise UsageError(f"{source}: class {first!r} of {split}/{more} has no images in train/: {advice}")


def _layout_error(source: Path, contents: Contents, top: str, labelled: Mapping[str, dict[str, str]]) -> UsageError:
    names = [*contents.files, *(name for name, why in contents.passed.items() if why == OTHER)]
    images = [name for name in names if is_image(name)]
    counts = ", ".join(f"{len(found)} in {top}{split}/CLASS/" for split, found in labelled.items())
    advice = _advice(names, images, labelled)
    return UsageError(f"{source}: of {len(images)} images {counts}: {EXPECTED}; {advice}")


def _advice(names: list[str], images: list[str], labelled: Mapping[str, dict[str, str]]) -> str:
    """Advise what to rename or move."""
    if known := sorted({name.split("/")[-1] for name in names} & set(MD5)):
        return f"found {known[0]}, a file of another dataset: name it with --set dataset=NAME"
    if not images:
        return f"found {names[0]} and {len(names) - 1} other files that are not images" if names else "found no file"
    for name in images:
        for part in name.split("/")[:-1]:
            meant = MEANT.get(part.strip().lower())
            if meant is not None and part not in SPLITS and not labelled[meant]:
                return f"found a folder {part!r}: rename it to {meant}"
    empty = "train" if not labelled["train"] else "test"
    beside = [name for name in images if len(name.split("/")) > 1 and name.split("/")[-2] == empty]
    if beside:
        return f"found {beside[0]} without a class: move it into {empty}/CLASS/"
    if labelled["train"]:
        return "found no test images: move some of each class from train/CLASS/ to test/CLASS/"
    if labelled["test"] or labelled["val"]:
        return f"found {images[0]}: move training images into train/CLASS/ next to it"
    return f"found {images[0]}: make the folders train/ and test/, with one folder for each class"


def _notes(contents: Contents, top: str, classes: list[str], test: Mapping[str, str]) -> tuple[str, ...]:
    """Classes without test images, and class folders without images."""
    untested = sorted(set(classes) - set(test.values()))
    listed = {
        parts[1]
        for name, why in contents.passed.items()
        if why == OTHER and name.startswith(f"{top}train/") and len(parts := name.removeprefix(top).split("/")) > 2
    }
    notes = []
    if untested:
        notes.append(f"no test images of {', '.join(untested[:4])}{' …' if len(untested) > 4 else ''}")
    if empty := sorted(listed - set(classes)):
        notes.append(f"no images in train/{'/, train/'.join(empty[:4])}/")
    return tuple(notes)


def _composed(name: str) -> str:
    return unicodedata.normalize("NFC", name)


def _plain(name: str) -> str:
    """Normalise differences that are hard to see: case, spaces at the ends, composed or decomposed characters."""
    return _composed(name).strip().casefold()
