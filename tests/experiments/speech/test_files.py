"""The files of sound below a folder and in zips."""

import os
import sys
import zipfile
from pathlib import Path

import pytest

from experiments.speech.files import sound_files
from lstm_jax.errors import InputError


def found_in(
    folder: Path, left_out: list[str] | None = None
) -> list[tuple[str, bytes]]:
    found = sound_files(folder, [] if left_out is None else left_out)
    return [(str(file.path), file.content) for file in found]


def test_files_are_found_in_folders_and_in_zips(tmp_path: Path) -> None:
    (tmp_path / "below").mkdir()
    (tmp_path / "below" / "b.wav").write_bytes(b"B")
    (tmp_path / "c.WAV").write_bytes(b"C")
    (tmp_path / "._c.WAV").write_bytes(b"X")
    (tmp_path / "folder.wav").mkdir()
    (tmp_path / "gone.wav").symlink_to("nowhere")
    (tmp_path / "no.txt").write_bytes(b"X")
    with zipfile.ZipFile(tmp_path / "some.ZIP", "w") as archive:
        archive.writestr("folder/a.Wav", b"A")
        archive.writestr("folder\\d.flac", b"D")
        archive.writestr("__MACOSX/folder/._a.Wav", b"X")
        archive.writestr("folder/read.me", b"X")
    assert found_in(tmp_path / "some.ZIP") == [
        *[("folder/a.Wav", b"A"), ("folder/d.flac", b"D")]
    ]
    assert found_in(tmp_path) == [
        *[("below/b.wav", b"B"), ("c.WAV", b"C")],
        *[("folder/a.Wav", b"A"), ("folder/d.flac", b"D")],
    ]


def test_what_is_no_folder_and_no_zip_is_refused(tmp_path: Path) -> None:
    (tmp_path / "some.zip").write_bytes(b"no zip")
    with pytest.raises(InputError, match=r"some\.zip: expected a zip file"):
        found_in(tmp_path)
    with pytest.raises(InputError, match=r"gone: expected a folder of sounds"):
        found_in(tmp_path / "gone")


def test_other_archives_are_named(tmp_path: Path) -> None:
    (tmp_path / "more.tar.gz").write_bytes(b"X")
    with zipfile.ZipFile(tmp_path / "some.zip", "w") as archive:
        archive.writestr("a.wav", b"A")
        archive.writestr("inner.zip", b"X")
    left_out: list[str] = []
    assert found_in(tmp_path, left_out) == [("a.wav", b"A")]
    assert left_out == [
        "more.tar.gz is an archive, but no zip",
        "inner.zip is an archive in some.zip",
    ]


def packed(path: Path, size: int, method: int = zipfile.ZIP_DEFLATED) -> bytearray:
    with zipfile.ZipFile(path, "w", method) as archive:
        archive.writestr("a.wav", bytes(size))
    return bytearray(path.read_bytes())


def test_encrypted_and_rarely_packed_sounds_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "some.zip"
    content = packed(path, 100)
    entry = content.index(b"PK\1\2")
    content[6] |= 1
    content[entry + 8] |= 1
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"some.zip: .*'a.wav' encrypted; unpack it"):
        found_in(tmp_path)
    packed(path, 100, zipfile.ZIP_LZMA)
    with pytest.raises(InputError, match=r"some.zip: .* other than deflate \(14\)"):
        found_in(tmp_path)


def test_zips_do_not_unpack_to_more_than_sounds(tmp_path: Path) -> None:
    path = tmp_path / "some.zip"
    packed(path, 2**26 + 1)
    with pytest.raises(InputError, match="67,108,865 bytes packed into 65,"):
        found_in(tmp_path)
    # One that lies about its size is read no further than that.
    content = packed(path, 2**20)
    entry = content.index(b"PK\1\2")
    for place in (22, entry + 24):
        content[place : place + 4] = (50).to_bytes(4, "little")
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"some.zip: expected a zip file, found: Bad"):
        found_in(tmp_path)


@pytest.mark.skipif(sys.platform != "linux", reason="names of bytes")
def test_names_of_any_bytes_can_be_printed(tmp_path: Path) -> None:
    for name in (b"7_jos\xe9_0.wav", "7_zoe\u0301_0.wav".encode()):
        Path(os.fsdecode(os.fsencode(tmp_path) + b"/" + name)).write_bytes(b"A")
    names = [name for name, _ in found_in(tmp_path)]
    assert sorted(names) == ["7_jos\xe9_0.wav", "7_zo\xe9_0.wav"]


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_unreadable_files_are_refused(tmp_path: Path) -> None:
    (tmp_path / "a.wav").touch(mode=0)
    with pytest.raises(InputError, match=r"a\.wav: expected a file of sound, found"):
        found_in(tmp_path)
