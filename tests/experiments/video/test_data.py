"""Files of joints: what is read of them, and what is refused."""

import gzip
import io
import lzma
import zipfile
from pathlib import Path

import numpy as np
import pytest

from experiments.video.data import (
    ACTIONS,
    SUBSETS,
    find_pair,
    find_test,
    labelled,
    read_movements,
)
from experiments.video.generated import generated
from experiments.video.skeleton import JOINTS
from lstm_jax.errors import InputError

XYZ = np.concatenate(generated(0).sequences[:3])
LENGTHS = [len(frames) for frames in generated(0).sequences[:3]]
COLUMNS = [f"{joint}_{axis}" for joint in JOINTS for axis in "xyz"]


def save(path: Path, **changed: object) -> Path:
    """An archive of three sequences."""
    arrays = {
        "xyz": XYZ,
        "lengths": np.array(LENGTHS),
        "action": np.array([20, 1, 20], np.int8),
        "subject": np.array([1, 3, 3]),
    }
    given = {
        name: np.asarray(value)
        for name, value in (arrays | changed).items()
        if value is not None
    }
    np.savez(path, allow_pickle=True, **given)
    return path


def csv_of(path: Path, frames: np.ndarray, extra: dict[str, list[str]]) -> Path:
    """A table of one frame per row."""
    lines = [",".join([*extra, *COLUMNS])]
    for number, frame in enumerate(frames):
        words = [values[number] for values in extra.values()]
        lines.append(",".join([*words, *map(str, frame.ravel().tolist())]))
    path.write_text("\n".join(lines) + "\n")
    return path


MAGIC = b"\x93NUMPY\x01\x00"


def npy(shape: tuple[int, ...], content: bytes = b"") -> bytes:
    """A file of an array of float32."""
    head = f"{{'descr': '<f4', 'fortran_order': False, 'shape': {shape}}}\n".encode()
    return MAGIC + len(head).to_bytes(2, "little") + head + content


def zipped(content: bytes) -> bytes:
    """An archive of two files of this content, which are to be arrays."""
    whole = io.BytesIO()
    with zipfile.ZipFile(whole, "w") as archive:
        for name in ("xyz.npy", "lengths.npy"):
            archive.writestr(name, content)
    return whole.getvalue()


def test_an_archive(tmp_path: Path) -> None:
    found = read_movements(save(tmp_path / "a.npz"))
    assert [len(frames) for frames in found.sequences] == LENGTHS
    np.testing.assert_array_equal(np.concatenate(found.sequences), XYZ)
    assert found.classes == ("high arm wave", "pickup and throw")
    assert found.labels.tolist() == [1, 0, 1] and found.subjects.tolist() == [1, 3, 3]
    assert found.left_out == 0


def test_names_of_ones_own_and_nobodys_numbers(tmp_path: Path) -> None:
    own = np.array(["sit", "bend", "99"])
    found = read_movements(save(tmp_path / "a.npz", action=own, subject=None))
    assert found.classes == ("bend", "99", "sit")
    assert found.labels.tolist() == [2, 0, 1] and found.subjects.tolist() == [-1] * 3


def test_what_is_not_tracked_or_not_listed_is_left_out(tmp_path: Path) -> None:
    lost = XYZ.copy()
    lost[: LENGTHS[0]] = 0
    found = read_movements(save(tmp_path / "a.npz", xyz=lost))
    assert found.labels.tolist() == [0, 1] and found.left_out == 1
    listed = np.array([True, True, False])
    path = save(tmp_path / "b.npz", xyz=lost, in_cvpr12_557=listed)
    assert read_movements(path).classes == ("high arm wave",)
    path = save(tmp_path / "c.npz", xyz=np.zeros_like(XYZ))
    with pytest.raises(InputError, match="expected sequences of tracked joints, found"):
        read_movements(path)


def test_a_table(tmp_path: Path) -> None:
    """Sequences may be mixed, and columns stand in any order."""
    extra = {"action": ["14", "14", "sit", "14"], "sequence": ["x", "x", "y", "x"]}
    found = read_movements(csv_of(tmp_path / "a.csv", XYZ[:4], extra))
    np.testing.assert_allclose(found.sequences[0], XYZ[[0, 1, 3]], rtol=1e-6)
    np.testing.assert_allclose(found.sequences[1], XYZ[[2]], rtol=1e-6)
    assert found.classes == ("forward kick", "sit") and found.labels.tolist() == [0, 1]
    bare = csv_of(tmp_path / "b.csv", XYZ[:4], {})
    found = read_movements(bare)
    assert len(found.sequences[0]) == 4 and found.labels.tolist() == [-1]
    with pytest.raises(InputError, match=r"b\.csv: expected an action of every seq"):
        labelled(found, bare)


def test_a_table_of_another_program(tmp_path: Path) -> None:
    """Capitals, spaces, an empty line first, lines that end in CR alone; packed."""
    text = csv_of(tmp_path / "a.csv", XYZ[:4], {}).read_text()
    first, rest = text.split("\n", 1)
    odd = "\n" + first.upper().replace(",", ", ") + "\n" + rest
    (tmp_path / "b.csv").write_bytes(odd.replace("\n", "\r").encode())
    (tmp_path / "c.csv.GZ").write_bytes(gzip.compress(text.encode()))
    (tmp_path / "d.csv.xz").write_bytes(lzma.compress(text.encode()))
    european = text.replace(",", ";").replace(".", ",")
    (tmp_path / "e.csv").write_text(european)
    for name in ("b.csv", "c.csv.GZ", "d.csv.xz", "e.csv"):
        (frames,) = read_movements(tmp_path / name).sequences
        np.testing.assert_allclose(frames, XYZ[:4], rtol=1e-6)


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"xyz": None}, "expected xyz and lengths, found .'action', 'l"),
        ({"xyz": XYZ[:, :19]}, r"xyz of shape \[frames, 20, 3\], found \[\d+, 19, 3\]"),
        ({"xyz": XYZ.astype(int)}, "of int64"),
        ({"xyz": XYZ * np.nan}, "found some that are not finite"),
        ({"lengths": np.array([2, 2, 2])}, r"add up to \d+ frames, found 6"),
        ({"lengths": np.array([len(XYZ), 1, -1])}, "lengths of 1 or more"),
        ({"lengths": np.zeros(0, int), "xyz": XYZ[:0]}, "lengths of 1 or more"),
        (
            {"lengths": np.array([2**63, 2**63, len(XYZ)], np.uint64)},
            r"add up to \d+ frames, found 18,446,744,073,709,551,\d+$",
        ),
        ({"xyz": XYZ * np.float32(1e12)}, r"coordinates within 1e\+09, found some"),
        (
            {"subject": np.array([1, 3, 2**63], np.uint64)},
            "expected subjects up to 2147",
        ),
        ({"lengths": np.array([0.5, 1.0, 1.0])}, "lengths of 1 or more"),
        ({"action": np.array([1, 2])}, r"action of each of 3 sequences, found \[2\]"),
        ({"subject": np.array(["a", "b", "c"])}, "subject of each of 3 sequences"),
        ({"lengths": np.array([object()])}, "expected a .npz, found: Object arrays"),
    ],
)
def test_archives_that_are_refused(
    tmp_path: Path, changed: dict[str, object], said: str
) -> None:
    path = save(tmp_path / "bad.npz", **changed)
    with pytest.raises(InputError, match=rf"bad\.npz: .*{said}") as raised:
        read_movements(path)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("a.npz", b"PK\x03\x04 and no more", "expected a .npz"),
        ("a.npz", b"", "expected a .npz"),
        ("a.npz", b"xyz", "expected a .npz, found no archive"),
        ("a.npz", npy(XYZ.shape, XYZ.tobytes()), "expected a .npz, found no archive"),
        ("a.npz", zipped(b"no array"), "expected xyz to be an array, found a file"),
        ("a.npz", zipped(npy((10**13,))), "expected a .npz, found: Unable to allocate"),
        ("a.npz", zipped(npy((10**30,))), "expected a .npz, found: Python int too lar"),
        ("a.npz", zipped(MAGIC + b"\x02\x00(("), "expected a .npz, found: "),
        (
            "a.npz",
            zipped(b"").replace(b"\x14\x00\x00\x00", b"\x14\x00\x01\x00"),
            "crypt",
        ),
        (
            "a.csv",
            ",".join([*COLUMNS, "Head_X"]).encode(),
            "found: the column 'head_x' t",
        ),
        ("a.txt", b"1 2 3", "expected a .npz or .csv of joints"),
        ("a.csv", b"", "expected columns left_shoulder_x to head_z"),
        ("a.csv", b"\xff\xfe\x00", "expected a table"),
        ("a.csv", ",".join(COLUMNS).encode(), "tracked joints, found none"),
        ("a.csv", (",".join(COLUMNS) + "\n1,2\n").encode(), "60 numbers .* in row 1"),
        (
            "a.csv",
            (",".join(COLUMNS) + "\n" + ",".join("1" * 120)).encode(),
            "expected a table, found: 120 cells in row 1, 60 in the header",
        ),
        (
            "a.csv",
            ("action," + ",".join(COLUMNS) + 2 * "\n{}" + "\n")
            .format("sit" + 60 * ",1", "bend" + 60 * ",1")
            .encode(),
            "expected one action of a sequence, found 'sit' and 'bend' in row 2",
        ),
    ],
)
def test_files_that_are_refused(
    tmp_path: Path, name: str, content: bytes, said: str
) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=said) as raised:
        read_movements(tmp_path / name)
    assert "\n" not in str(raised.value)


def test_the_two_files_of_a_folder(tmp_path: Path) -> None:
    train, test = tmp_path / "some_train.npz", tmp_path / "some_test.npz"
    with pytest.raises(InputError, match=r"one \*train\.npz, found"):
        find_pair([tmp_path])
    train.touch()
    test.touch()
    assert find_pair([tmp_path]) == find_pair([train, test]) == (train, test)
    assert find_test(tmp_path) == find_test(test) == test
    (tmp_path / "another_test.npz").touch()
    with pytest.raises(InputError, match=r"one \*test\.npz, found"):
        find_pair([tmp_path])
    for paths, said in (([], "found nothing"), ([train] * 3, "found .*, .*, ")):
        with pytest.raises(InputError, match=f"--data: expected a folder, .*{said}"):
            find_pair(paths)


def test_the_subsets_are_those_of_the_paper() -> None:
    """Four actions are in two of them, and every action is in some."""
    names = [name for subset in SUBSETS.values() for name in subset]
    assert set(names) == set(ACTIONS) and len(names) == 24
    twice = {name for name in names if names.count(name) > 1}
    assert twice == {"high throw", "forward kick", "tennis serve", "pickup and throw"}


def test_some_of_the_classes(tmp_path: Path) -> None:
    data = read_movements(save(tmp_path / "a.npz"))
    some = data.of_classes(["pickup and throw"])
    assert some.labels.tolist() == [0, 0] and some.classes == ("pickup and throw",)
    np.testing.assert_array_equal(some.sequences[1], data.sequences[2])
    turned = data.of_classes(["pickup and throw", "high arm wave"])
    assert turned.labels.tolist() == [0, 1, 0]
