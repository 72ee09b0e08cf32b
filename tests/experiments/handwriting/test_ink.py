"""Files of strokes: three forms of one drawing, and what is no drawing."""

from pathlib import Path

import numpy as np
import pytest

from experiments.handwriting.ink import read_strokes
from lstm_jax import InputError

UPWARDS = [np.array([[0, -1], [2.5, -3]]), np.array([[4, 5]])]
INKML = """<?xml version="1.0"?>
<ink xmlns="http://www.w3.org/2003/InkML">
  <traceFormat><channel name="T"/><channel name="X"/>{y}</traceFormat>
  <traceGroup><trace>
    9 0 {a} , 8 2.5 {b}
  </trace></traceGroup>
  <trace>7 4 {c}</trace>
</ink>"""
DOWN = {"y": '<channel name="Y" orientation="+ve"/>', "a": 1, "b": 3, "c": -5}
UP = {"y": '<channel name="Y" orientation="-ve"/>', "a": -1, "b": -3, "c": 5}
FORMS = {
    "list.json": "[[[0, 1], [2.5, 3, 77]], [[4, -5]]]",
    "down.json": '{"y": "down", "strokes": [[[0, 1], [2.5, 3]], [[4, -5]]]}',
    "up.JSON": '{"y": "up", "strokes": [[[0, -1], [2.5, -3]], [[4, 5]]]}',
    "rows.csv": "\ufeffx, Stroke ,y,t\n0,a,1,1\n2.5,a,3,2\n4,b,-5,3\n",
    "marks.csv": "stroke;x;y\na;0,0;1\na;2,5;3\nb;4;-5,0\n",
    "tabs.csv": "stroke\tx\ty\na\t0\t1\na\t2.5\t3\nb\t4\t-5\n",
    "ends.csv": "stroke,x,y\na,0,1,\na,2.5,3,\nb,4,-5, ,\n",
    "down.inkml": INKML.format_map(DOWN),
    "up.inkml": INKML.format_map(UP),
    "bare.inkml": "<ink><trace>0 1, 2.5 3 6</trace><trace>4 -5</trace></ink>",
}


@pytest.mark.parametrize("name", FORMS)
def test_all_forms_are_of_one_drawing(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text(FORMS[name])
    found = read_strokes(tmp_path / name)
    assert len(found) == 2
    for stroke, expected in zip(found, UPWARDS, strict=True):
        np.testing.assert_array_equal(stroke, expected)


@pytest.mark.parametrize("encoding", ["utf-16", "latin-1", "utf-8-sig"])
def test_ink_is_read_in_the_encoding_that_it_names(
    encoding: str, tmp_path: Path
) -> None:
    head = f'<?xml version="1.0" encoding="{encoding.removesuffix("-sig")}"?>'
    whole = head + "<ink><annotation>dé</annotation><trace>0 1, 2 3</trace></ink>"
    (tmp_path / "a.inkml").write_bytes(whole.encode(encoding))
    (found,) = read_strokes(tmp_path / "a.inkml")
    np.testing.assert_array_equal(found, [[0, -1], [2, -3]])


def test_a_table_of_another_program(tmp_path: Path) -> None:
    """An empty line first, and lines that end in CR alone."""
    (tmp_path / "a.csv").write_bytes(b"\rStroke, X, Y\r1,0,1\r1,2,3\r")
    (found,) = read_strokes(tmp_path / "a.csv")
    np.testing.assert_array_equal(found, [[0, -1], [2, -3]])


ENTITIES = (
    '<!DOCTYPE ink [<!ENTITY a "1 1,"><!ENTITY b "&a;&a;&a;">]>'
    "<ink><trace>&b;&b; 1 1</trace></ink>"
)


@pytest.mark.parametrize(
    ("name", "content", "found"),
    [
        ("a.png", b"", r"a file of .json, .csv, .inkml, found '.png'"),
        ("a.json", b"\xff", "no UTF-8: invalid start byte at byte 0"),
        ("a.json", b"{", "no JSON: "),
        ("a.json", b"[" * 100_000, "no JSON: |maximum recursion"),
        (
            "a.json",
            b"[" * 700 + b"]" * 700,
            "for a point of stroke 1|maximum recursion",
        ),
        ("a.json", b"{}", "None"),
        ("a.json", b"[]", "none"),
        ("a.json", b"7", "7"),
        ("a.json", b'{"strokes": [[[0, 0]]], "y": "left"}', "\"y\": 'left', neither"),
        ("a.json", b"[[]]", r"\[\] for stroke 1"),
        ("a.json", b"[[[0, 1]], [[0]]]", r"\[0\] for a point of stroke 2"),
        ("a.json", b'[[[0, "1"]]]', r"\[0, '1'\] for a point of stroke 1"),
        ("a.json", b"[[[true, 1]]]", r"\[True, 1\] for a point"),
        ("a.json", b"[[[NaN, 1]]]", r"\[nan, 1\] for a point"),
        ("a.json", b"[[[-Infinity, 1]]]", r"\[-inf, 1\] for a point"),
        ("a.json", b"[[[1e10, 1]]]", r"\[10000000000.0, 1\] for a point"),
        ("a.json", b"[[[1" + b"0" * 400 + b", 1]]]", r"\[10+"),
        ("a.csv", b"", r"the columns \[\], not \['stroke', 'x', 'y'\]"),
        ("a.csv", b"stroke,x\n1,2\n", r"the columns \['stroke', 'x'\]"),
        ("a.csv", b"stroke,x,y\n", "none"),
        ("a.csv", b"stroke,x,y\n1,2\n", r"\['2', None\] for numbers in row 1"),
        ("a.csv", b"stroke,x,y\n1,2,nan\n", r"\[2.0, nan\] for a point of stroke 1"),
        ("a.csv", b"stroke;x;y\n1;1,234;2,345\n", "numbers whose decimal sign"),
        ("a.csv", b"stroke,x,y\n1,2,b\n", r"\['2', 'b'\] for numbers in row 1"),
        ("a.csv", b'stroke,x,y\n"' + b"1" * 140_000 + b'",2,3\n', "no table: field"),
        ("a.csv", b"stroke,x,y,X\n1,2,3,4\n", "no table: the column 'x' twice"),
        (
            "a.csv",
            b"stroke,x,y\n1,2,3\n1,10,5,20,3\n",
            "no table: 5 cells in row 2, 3 in the header",
        ),
        ("a.inkml", b'<?xml version="1.0" encoding="x"?><ink/>', "no XML: unknown enc"),
        (
            "a.inkml",
            b'<?xml version="1.0" encoding="big5"?><ink/>',
            "no XML: multi-byte",
        ),
        ("a.inkml", b"<ink>", "no XML: no element found"),
        ("a.inkml", b"<ink/>", "none"),
        ("a.inkml", ENTITIES.encode(), "a document type, which InkML does without"),
        ("a.inkml", b"<ink><trace/></ink>", r"'' for a point in trace 1"),
        ("a.inkml", b"<ink><trace>1 1, '2 '2</trace></ink>", r'"\'2", "\'2"\] for a'),
        ("a.inkml", b"<ink><trace>1 1, 2</trace></ink>", "' 2' for a point in trace"),
    ],
)
def test_what_is_no_drawing_is_refused_in_one_line(
    name: str, content: bytes, found: str, tmp_path: Path
) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=f"expected .*(?:{found})") as raised:
        read_strokes(tmp_path / name)
    message = str(raised.value)
    assert message.startswith(f"{tmp_path / name}: expected ") and "\n" not in message
    assert len(message) < len(str(tmp_path)) + 260


def test_a_file_that_is_missing_or_too_large_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(InputError, match="found no file: No such file or directory"):
        read_strokes(tmp_path / "none.json")
    monkeypatch.setattr("experiments.handwriting.ink._LARGEST", 10)
    (tmp_path / "a.json").write_text("[[[0, 1]]]")
    assert len(read_strokes(tmp_path / "a.json")) == 1
    (tmp_path / "a.json").write_text("[[[0, 11]]]")
    with pytest.raises(InputError, match="found more than 10 bytes"):
        read_strokes(tmp_path / "a.json")
