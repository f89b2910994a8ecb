"""A line is whole or refused; text that SQL cannot hold never costs the record."""

import zlib

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.ledger.lines import BrokenLine, decode_line, encode_line

texts = st.text(st.characters(codec="utf-8"))
records = st.dictionaries(texts, st.none() | st.booleans() | st.integers(-(2**53), 2**53) | texts | st.lists(texts))


@given(records)
def test_what_goes_in_comes_out(content: dict[str, object]) -> None:
    line = encode_line("call", content)
    assert line.count(b"\n") == 1
    envelope = decode_line(line)
    expected = msgspec.json.decode(msgspec.json.encode(content).replace(b"\\u0000", "\ufffd".encode()))
    assert envelope.kind == "call"
    assert msgspec.json.decode(envelope.record) == expected


@given(records, st.data())
def test_a_torn_or_damaged_line_is_refused(content: dict[str, object], data: st.DataObject) -> None:
    line = encode_line("call", content)
    cut = data.draw(st.integers(0, len(line) - 1))
    with pytest.raises(BrokenLine):
        decode_line(line[:cut])
    with pytest.raises(BrokenLine):
        decode_line(line[: max(0, cut - 1)] + b"\n")
    flipped = bytearray(line)
    flipped[cut] ^= 1 << data.draw(st.integers(0, 7))
    with pytest.raises(BrokenLine):
        decode_line(bytes(flipped))


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("a\0b", "a\ufffdb"),
        ("cut \ud83d", "cut \ufffd"),
        ("whole 😀", "whole 😀"),
        ("a literal \\u0000", "a literal \\u0000"),
    ],
)
def test_unstorable_text_is_replaced(text: str, kept: str) -> None:
    line = encode_line("call", {"answer": text, "nested": [{text: text}]})
    assert msgspec.json.decode(decode_line(line).record) == {"answer": kept, "nested": [{kept: kept}]}


@pytest.mark.parametrize("payload", [b"[]", b"{}", b'{"k":"call"}', b'{"r":{}}', b"not json", b"\xff"])
def test_a_whole_line_that_is_no_record_is_refused(payload: bytes) -> None:
    with pytest.raises(BrokenLine):
        decode_line(b"%08x %b\n" % (zlib.crc32(payload), payload))
