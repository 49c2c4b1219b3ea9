"""Hostile JSON and .npz files: each gets one line, in time and memory of its size."""

import io
import json
import struct
import time
import zipfile

import numpy as np
import pytest
from canary import Call

from ft_tf.data.sample import read_sample
from ft_tf.errors import DataError
from ft_tf.untrusted import parse_json, read_npz

HEADERS = (
    "{'descr': (", "  1\n 2", "-" * 9000 + "1", "1+" * 4000 + "1j", "{[]: 1}", "x" * 11_000,
    *(
        f"{{'descr': {kind}, 'fortran_order': False, 'shape': ({shape},)}}"
        for kind, shape in (
            ("('<f4',)", 1), ("'<f4'", "0, " + "9" * 23), ("'V0'", "9" * 11), ("'S0'", "9" * 11),
            ("[]", "9" * 11), ("{'a': 1}", 1), ("'<f4'", "1," * 99),
        )
    ),
)  # fmt: skip


@pytest.mark.parametrize("number", range(len(HEADERS)))
def test_headers_of_arrays_that_numpy_cannot_parse(number, canary):
    path = canary.directory / "sample.npz"
    header = HEADERS[number].encode()
    written(path, b"\x93NUMPY\1\0" + struct.pack("<H", len(header)) + header)
    with canary.refuses(DataError, "the embedded sample is unreadable", peak=4 << 20):
        read_sample(path)
    with pytest.raises(ValueError, match=r"damaged|no numbers") as raised:
        read_npz(path)
    assert len(str(raised.value)) < 200


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_zip_files_that_numpy_does_not_write(tmp_path):
    path, content = tmp_path / "sample.npz", io.BytesIO()
    np.save(content, np.zeros(1000))
    for method in (zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA):
        written(path, content.getvalue(), compression=method)
        with pytest.raises(ValueError, match="compressed by other means than deflate"):
            read_npz(path)
    written(path, content.getvalue())
    encrypted = bytearray(path.read_bytes())
    for place in range(len(encrypted)):
        if encrypted.startswith(b"PK\1\2", place):
            encrypted[place + 8] |= 1
    path.write_bytes(encrypted)
    with pytest.raises(ValueError, match=r"damaged \(.*is encr"):
        read_npz(path)
    with zipfile.ZipFile(path, "w") as archive:
        for _ in range(2):
            archive.writestr("a.npy", content.getvalue())
    with pytest.raises(ValueError, match="more than once"):
        read_npz(path)


def npy(header):
    text = str(header).encode().ljust(118) + b"\n"
    return b"\x93NUMPY\1\0" + struct.pack("<H", len(text)) + text


def written(path, content, **options):
    with zipfile.ZipFile(path, "w", **options) as archive:
        for name in ("x_train", "y_train", "x_test", "y_test"):
            archive.writestr(f"{name}.npy", content)


def pickled_array(canary):
    stream = io.BytesIO()
    np.save(stream, np.array([Call(open, canary.written(), "w")], object), allow_pickle=True)
    return stream.getvalue()


ARRAYS = {
    "pickled": (pickled_array, {}, "holds Python objects"),
    "declared": (
        lambda _: npy({"descr": "<f4", "fortran_order": False, "shape": (1 << 45,)}),
        {}, "more than its",
    ),
    "code in the header": (
        lambda canary: npy(f"open({canary.written()!r}, 'w')"), {}, "unreadable",
    ),
    "bomb": (
        lambda _: npy({"descr": "u1", "fortran_order": False, "shape": (50 << 20,)})
        + b"\0" * (50 << 20),
        {"compression": zipfile.ZIP_DEFLATED}, "unpacks from",
    ),
    "no array": (lambda _: b"PK", {}, "unreadable"),
}  # fmt: skip


@pytest.mark.parametrize("case", ARRAYS)
def test_npz_files_hold_numbers_and_no_more_than_they_store(case, canary):
    make, options, reason = ARRAYS[case]
    path = canary.directory / "sample.npz"
    written(path, make(canary), **options)
    with canary.refuses(DataError, reason, peak=4 << 20):
        read_sample(path)


def test_npz_files_are_read_as_numpy_reads_them(tmp_path):
    arrays = {"a": np.arange(6.0).reshape(2, 3), "b": np.array(7, np.int8), "c": np.zeros((0, 4))}
    for save in (np.savez, np.savez_compressed):
        save(tmp_path / "some.npz", **arrays)
        found = read_npz(tmp_path / "some.npz")
        assert list(found) == list(arrays)
        for name, values in arrays.items():
            np.testing.assert_array_equal(found[name], values)
            assert found[name].dtype == values.dtype
    with pytest.raises(ValueError, match="holds no array 'd'"):
        read_npz(tmp_path / "some.npz", ("a", "d"))


def test_json_is_parsed_as_json_does():
    text = r'{"a": ["[[\"{", {"b": [1, 2.5, null, true]}], "\\": "\\\"]"}'
    assert parse_json(text.encode()) == json.loads(text)
    assert parse_json(b"[" * 200 + b"]" * 200)
    with pytest.raises(ValueError, match="nested 201 levels deep"):
        parse_json(b"[" * 201 + b"]" * 201)


@pytest.mark.parametrize("end", [b"", b"\\", b"\n"])
def test_a_text_of_escaped_quotes_is_read_once(end):
    """Read again from each of its quotes, it would take 10 seconds here, and hours at 1 MB."""
    before = time.process_time()
    with pytest.raises(ValueError, match="Unterminated|Invalid"):
        parse_json(b'"' + b'\\"' * (1 << 15) + end)
    assert time.process_time() - before < 2


def test_the_texts_in_json_are_not_copied(canary):
    with canary.refuses(ValueError, "Extra data", peak=16 << 20):
        parse_json(b'"' + b"a" * (1 << 20) + b'"' * (1 << 20))


def test_json_is_utf_8():
    """In UTF-16 the byte of a quote hides brackets, and the parser recurses."""
    assert parse_json(b"\xef\xbb\xbf[1]") == [1]
    hidden = '["\u2200", ' + "[" * 100_000 + '"'
    with pytest.raises(ValueError, match="utf-8"):
        parse_json(hidden.encode("utf-16"))
