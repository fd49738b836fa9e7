"""A body is bounded before it is decoded, and an incomplete one is a bad answer."""

import asyncio
import gzip
import random
import tracemalloc
import zlib

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.limits import Limit
from exporter.reasons import Reason
from exporter.registry import RegistryError
from exporter.registry.body import decode, read
from exporter.registry.errors import bad_answer

pytestmark = pytest.mark.anyio


class Page(msgspec.Struct):
    tags: list[str] | None = None


class Manifests(msgspec.Struct):
    manifests: list[Page] | None = None


async def anything(_count):
    """A budget without an end."""


async def chunks(body, size=7):
    for start in range(0, len(body), size):
        yield body[start : start + size]


@pytest.mark.parametrize("encoding", ["", "identity", "gzip", "GZIP ", "deflate"])
async def test_a_body_that_fits(encoding):
    body = b'{"tags": ["v1.0.0"]}' * 10
    pack = {"gzip": gzip.compress, "deflate": zlib.compress}.get(encoding.strip().lower(), bytes)
    assert await read(chunks(pack(body)), encoding=encoding, limit=200, take=anything) == body


@pytest.mark.parametrize(
    ("body", "encoding", "said"),
    [
        (b"x" * 201, "", "larger than 200"),
        (gzip.compress(b"x" * 201, mtime=0), "gzip", "larger than 200"),
        (gzip.compress(b"x" * 100, mtime=0)[:-6], "gzip", "truncated"),
        (b"no gzip at all", "gzip", "cannot decompress"),
        (gzip.compress(b"x" * 100, mtime=0) + b"y", "gzip", "trailing data"),
        (gzip.compress(b"x" * 100, mtime=0) * 2, "gzip", "trailing data"),
        (b"", "br", "not requested"),
    ],
)
async def test_a_body_that_is_too_large_or_invalid(body, encoding, said):
    with pytest.raises(RegistryError, match=said) as caught:
        await read(chunks(body), encoding=encoding, limit=200, take=anything)
    assert caught.value.reason is Reason.BAD_ANSWER


async def test_a_gzip_bomb_takes_no_more_memory_than_its_bound():
    bomb = gzip.compress(bytes(400 * 2**20), compresslevel=9)
    tracemalloc.start()
    with pytest.raises(RegistryError, match="decoded response is larger"):
        await read(chunks(bomb, 2**16), encoding="gzip", limit=2**20, take=anything)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 4 * 2**20


async def test_the_budget_agrees_before_anything_is_kept():
    taken = []

    async def take(count):
        taken.append(count)
        if sum(taken) > 200_000:
            raise bad_answer("enough")

    with pytest.raises(RegistryError, match="enough"):
        await read(chunks(gzip.compress(bytes(2**20)), 2**16), encoding="gzip", limit=2**20, take=take)
    assert max(taken) <= 2**16, "a bomb is inflated in small steps"
    assert sum(taken) <= 200_000 + 2**16


@pytest.mark.parametrize("size", [1, 100, 2**16 - 1, 2**16, 2**16 + 1, 200_000])
async def test_what_is_inflated_in_steps_is_complete(size):
    body = random.Random(size).randbytes(size // 2) + bytes(size - size // 2)
    for pack, encoding in ((gzip.compress, "gzip"), (zlib.compress, "deflate")):
        for part in (1, 1000, 10**6):
            received = chunks(pack(body), max(part, size // 10_000))
            assert await read(received, encoding=encoding, limit=size + 100, take=anything) == body


async def test_a_body_of_very_many_parts_is_refused_and_lets_other_tasks_run():
    turns = 0

    async def other():
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    task = asyncio.create_task(other())
    assert await read(chunks(b"x" * 5000, 1), encoding="", limit=10_000, take=anything, parts=5000)
    task.cancel()
    assert turns > 20
    with pytest.raises(RegistryError, match="more than 5000 parts") as caught:
        await read(chunks(b"x" * 5001, 1), encoding="", limit=10_000, take=anything, parts=5000)
    assert caught.value.limit is Limit.ANSWER_PARTS


@pytest.mark.parametrize(
    ("body", "as_type"),
    [(b'{"tags":[' + b'"a",' * 9 + b'"a"]}', Page), (b'{"manifests":[' + b"{}," * 9 + b"{}]}", Manifests)],
)
def test_values_are_counted_before_they_are_decoded(body, as_type):
    assert decode(body, as_type, limit=Limit.TAGS, most=10)
    with pytest.raises(RegistryError, match="more than 9 values") as caught:
        decode(body, as_type, limit=Limit.TAGS, most=9)
    assert caught.value.limit is Limit.TAGS


def test_no_body_within_the_limits_takes_many_times_its_size():
    body = b'{"manifests":[' + b"{}," * (2**20) + b"{}]}"
    tracemalloc.start()
    with pytest.raises(RegistryError, match="values"):
        decode(body, Manifests, limit=Limit.MANIFEST_VALUES)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2**20


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
