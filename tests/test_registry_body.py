"""A body is bounded before it is decoded, and an incomplete one is a bad answer."""

import gzip
import tracemalloc
import zlib

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.reasons import Reason
from exporter.registry import RegistryError
from exporter.registry.body import decode, read

pytestmark = pytest.mark.anyio


class Page(msgspec.Struct):
    tags: list[str] | None = None


async def chunks(body, size=7):
    for start in range(0, len(body), size):
        yield body[start : start + size]


@pytest.mark.parametrize("encoding", ["", "identity", "gzip", "GZIP ", "deflate"])
async def test_a_body_that_fits(encoding):
    body = b'{"tags": ["v1.0.0"]}' * 10
    pack = {"gzip": gzip.compress, "deflate": zlib.compress}.get(encoding.strip().lower(), bytes)
    assert await read(chunks(pack(body)), encoding=encoding, limit=200) == body


@pytest.mark.parametrize(
    ("body", "encoding", "said"),
    [
        (b"x" * 201, "", "larger than 200"),
        (gzip.compress(b"x" * 201, mtime=0), "gzip", "larger than 200"),
        (gzip.compress(b"x" * 100, mtime=0)[:-6], "gzip", "truncated"),
        (b"no gzip at all", "gzip", "cannot be decompressed"),
        (b"", "br", "not requested"),
    ],
)
async def test_a_body_that_is_too_large_or_invalid(body, encoding, said):
    with pytest.raises(RegistryError, match=said) as caught:
        await read(chunks(body), encoding=encoding, limit=200)
    assert caught.value.reason is Reason.BAD_ANSWER


async def test_a_gzip_bomb_takes_no_more_memory_than_its_bound():
    bomb = gzip.compress(bytes(400 * 2**20), compresslevel=9)
    tracemalloc.start()
    with pytest.raises(RegistryError, match="decoded answer is larger"):
        await read(chunks(bomb, 2**16), encoding="gzip", limit=2**20)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 4 * 2**20


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html>",
        b"[]",
        b"null",
        b"[" * 200_000,
        b'{"a":' * 200_000,
        b"\xff\xfe",
        b'{"tags": ["v1',
        b'{"tags": [1]}',
        b'{"tags": {}}',
    ],
)
def test_anything_but_the_expected_object_is_a_bad_answer(body):
    with pytest.raises(RegistryError) as caught:
        decode(body, Page)
    assert caught.value.reason is Reason.BAD_ANSWER


@given(st.binary(max_size=100))
def test_any_bytes_are_an_object_or_a_bad_answer(body):
    try:
        assert isinstance(decode(body, Page), Page)
    except RegistryError as error:
        assert error.reason is Reason.BAD_ANSWER
