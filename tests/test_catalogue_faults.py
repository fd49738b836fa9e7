"""A damaged file is replaced, a folder that cannot be written is done without, and neither ends the exporter."""

import contextlib
import random
import shutil
import subprocess

import pytest

from exporter.catalogue import FILE, RETRY_SECONDS, Catalogue, CatalogueError, IncompleteListError
from exporter.images import Repository, is_tag
from exporter.telemetry import Telemetry
from exporter.verdicts import Question
from tests.support.disk import mounted

pytestmark = pytest.mark.anyio
LEDGER = Repository("docker.io", "mojaloop/central-ledger")
SERVICES = [Repository("docker.io", f"mojaloop/service-{number}") for number in range(20)]
TAGS = [f"v1.{minor}.{patch}" for minor in range(12) for patch in range(12)]
NOW = 1_000_000.0


class Clock:
    now = NOW

    def __call__(self):
        return self.now


def opened(directory, *, telemetry=None, monotonic=None):
    return Catalogue.open(directory, clock=Clock(), monotonic=monotonic or Clock(), telemetry=telemetry or Telemetry())


async def latest(catalogue, repository=LEDGER):
    verdicts = await catalogue.judge(repository, [Question("v1.0.0")])
    return None if verdicts is None else verdicts[0].latest


def value(telemetry, name):
    return telemetry.registry.get_sample_value(f"mojaloop_exporter_catalogue_{name}")


@pytest.fixture(scope="module")
def filled(tmp_path_factory):
    """A folder with the catalogue of a hub, written by the exporter and closed."""
    import asyncio

    directory = tmp_path_factory.mktemp("filled")

    async def fill():
        async with await opened(directory) as catalogue:
            for repository in (LEDGER, *SERVICES):
                await catalogue.store(repository, TAGS, running=["v1.0.0"], etag='"abc"')
                await catalogue.record_published(repository, "v1.0.1", 500_000.0)

    asyncio.run(fill())
    return directory


async def use(directory):
    """Everything that the exporter does with a catalogue; what it gets must be of the right types."""
    telemetry = Telemetry()
    async with await opened(directory, telemetry=telemetry) as catalogue:
        for name, at in (await catalogue.lookups()).items():
            assert isinstance(name, str)
            assert isinstance(at, float)
            assert at >= 0
        for repository in (LEDGER, *SERVICES[::10]):
            etag = await catalogue.etag(repository)
            assert etag is None or etag.isascii()
            verdicts = await catalogue.judge(repository, [Question("v1.0.0"), Question("v1.3.3", include="v1.*")])
            for verdict in verdicts or ():
                names = [verdict.latest, verdict.minor, verdict.major, verdict.undated or "v1.0.0"]
                assert all(isinstance(name, str) and is_tag(name) for name in names)
                times = [verdict.first_seen, verdict.published]
                assert all(at is None or (isinstance(at, float) and 0 <= at < 1e11) for at in times)
            with contextlib.suppress(IncompleteListError):
                await catalogue.store(repository, [*TAGS, "v1.0.99"], running=["v1.0.0"])
                assert await latest(catalogue, repository) == "v1.0.99"
            await catalogue.record_published(repository, "v1.0.1", 400_000.0)
            await catalogue.confirm(repository)
    return value(telemetry, "resets_total"), value(telemetry, "writable")


def flip_bit(content, position, seeded):
    content[position] ^= 1 << seeded.randrange(8)


def flip_byte(content, position, seeded):
    content[position] = seeded.randrange(256)


def cut(content, position, _):
    del content[position:]


@pytest.mark.parametrize(("harm", "times"), [(flip_bit, 100), (flip_byte, 100), (cut, 20)])
async def test_no_damage_of_the_file_raises_or_gets_out(filled, tmp_path, harm, times):
    content, seeded, resets = (filled / FILE).read_bytes(), random.Random(16), 0
    for number in range(times):
        # The first page has the header and the schema: it gets as much damage as all others.
        position = seeded.randrange(4096 if number % 2 else len(content))
        damaged = bytearray(content)
        harm(damaged, position, seeded)
        directory = tmp_path / str(number)
        directory.mkdir()
        (directory / FILE).write_bytes(damaged)
        reset, writable = await use(directory)
        assert reset <= 1, position
        assert writable == 1, position
        resets += reset
        # Whatever it was, it is over: the next start finds a file that is in order.
        assert await use(directory) == (0, 1), position
        shutil.rmtree(directory)
    assert resets, "some of it was noticed"


async def test_no_damage_of_what_a_killed_process_left_raises_or_gets_out(tmp_path):
    # A copy of the files of an open catalogue is what SIGKILL leaves: the last writes are in the write-ahead log.
    async with await opened(tmp_path / "open") as catalogue:
        for repository in (LEDGER, *SERVICES[:3]):
            await catalogue.store(repository, TAGS, running=["v1.0.0"])
        shutil.copytree(tmp_path / "open", tmp_path / "killed")
    log = f"{FILE}-wal"
    content, seeded = (tmp_path / "killed" / log).read_bytes(), random.Random(15)
    assert len(content) > 4096
    for number in range(60):
        directory = tmp_path / str(number)
        shutil.copytree(tmp_path / "killed", directory)
        damaged = bytearray(content)
        flip_byte(damaged, seeded.randrange(64 if number % 3 == 0 else len(content)), seeded)
        (directory / log).write_bytes(damaged)
        assert (await use(directory))[1] == 1, number
        assert await use(directory) == (0, 1), number


async def test_damage_that_appears_while_the_file_is_in_use_is_noticed(tmp_path):
    telemetry = Telemetry()
    async with await opened(tmp_path, telemetry=telemetry) as catalogue:
        # More than the 2 MB of the file that SQLite keeps in memory.
        for repository in SERVICES[:3]:
            await catalogue.store(repository, [f"v1.0.{patch}" for patch in range(40_000)], running=[])
    async with await opened(tmp_path, telemetry=telemetry) as catalogue:
        with (tmp_path / FILE).open("r+b") as file:
            file.seek(4096)
            file.write(random.Random(1).randbytes((tmp_path / FILE).stat().st_size - 4096))
        for repository in SERVICES[:3]:
            await catalogue.judge(repository, [Question("v1.0.0")])
        await catalogue.store(LEDGER, TAGS, running=["v1.0.0"])
        assert await latest(catalogue) == "v1.0.11"
    assert value(telemetry, "resets_total") == 1


async def test_only_the_newest_damaged_file_is_kept(tmp_path):
    for _ in range(3):
        (tmp_path / FILE).write_bytes(b"this is not a database, but it is long enough to be read as one" * 100)
        (tmp_path / f"{FILE}.damaged-1").write_bytes(b"older")
        async with await opened(tmp_path):
            pass
        assert [path.name for path in tmp_path.glob("*.damaged-*")] == [f"{FILE}.damaged-{NOW:.0f}"]


@pytest.fixture
def disk(tmp_path):
    with mounted(tmp_path / "disk") as opened_disk:
        yield opened_disk


MANY = [f"v1.0.{patch}" for patch in range(3000)]


async def test_a_disk_that_fills_up_stops_nothing_and_is_used_again_once_there_is_room(disk, caplog):
    telemetry, monotonic = Telemetry(), Clock()
    async with await opened(disk.folder, telemetry=telemetry, monotonic=monotonic) as catalogue:
        await catalogue.store(LEDGER, ["v1.0.0", "v1.0.1"], running=["v1.0.0"])
        disk.fill()
        for repository in SERVICES:
            await catalogue.store(repository, MANY, running=["v1.0.0"])
        assert await latest(catalogue) == "v1.0.1", "what was known before"
        assert await latest(catalogue, SERVICES[7]) == MANY[-1]
        assert value(telemetry, "writable") == 0
        monotonic.now += RETRY_SECONDS
        await catalogue.retry_disk()
        assert value(telemetry, "writable") == 0
        assert caplog.text.count("cannot write the catalogue") == 1, "it is logged once"
        disk.free()
        disk.remount("size=32m")
        monotonic.now += RETRY_SECONDS
        await catalogue.retry_disk()
        assert value(telemetry, "writable") == 1
        await catalogue.store(LEDGER, ["v1.0.0", "v1.0.2"], running=["v1.0.0"])
    async with await opened(disk.folder) as catalogue:
        assert await latest(catalogue) == "v1.0.2"
        assert await latest(catalogue, SERVICES[7]) == MANY[-1]
    assert value(telemetry, "resets_total") == 0


@pytest.mark.parametrize("known", [True, False], ids=["with a catalogue", "without one"])
async def test_a_full_disk_prevents_no_start(disk, known):
    if known:
        async with await opened(disk.folder) as catalogue:
            await catalogue.store(LEDGER, ["v1.0.0", "v1.0.1"], running=["v1.0.0"])
    disk.fill()
    telemetry = Telemetry()
    async with await opened(disk.folder, telemetry=telemetry) as catalogue:
        assert await latest(catalogue) == ("v1.0.1" if known else None)
        for repository in SERVICES:
            await catalogue.store(repository, MANY, running=["v1.0.0"])
        assert await latest(catalogue, SERVICES[0]) == MANY[-1]
    assert value(telemetry, "writable") == 0


async def test_a_read_only_folder_is_read_and_then_kept_in_memory(disk):
    async with await opened(disk.folder) as catalogue:
        await catalogue.store(LEDGER, ["v1.0.0", "v1.0.1"], running=["v1.0.0"])
    disk.remount("ro")
    telemetry, monotonic = Telemetry(), Clock()
    async with await opened(disk.folder, telemetry=telemetry, monotonic=monotonic) as catalogue:
        assert await latest(catalogue) == "v1.0.1"
        assert value(telemetry, "writable") == 0
        await catalogue.store(LEDGER, ["v1.0.0", "v1.0.2"], running=["v1.0.0"])
        disk.remount("rw")
        monotonic.now += RETRY_SECONDS
        await catalogue.retry_disk()
        assert value(telemetry, "writable") == 1
    async with await opened(disk.folder) as catalogue:
        assert await latest(catalogue) == "v1.0.2"


async def test_a_damaged_file_in_a_read_only_folder_prevents_no_start(disk):
    (disk.folder / FILE).write_bytes(b"this is not a database, but it is long enough to be read as one" * 100)
    disk.remount("ro")
    telemetry = Telemetry()
    async with await opened(disk.folder, telemetry=telemetry) as catalogue:
        await catalogue.store(LEDGER, ["v1.0.0", "v1.0.1"], running=["v1.0.0"])
        assert await latest(catalogue) == "v1.0.1"
    assert value(telemetry, "writable") == 0


async def test_a_folder_that_another_process_holds_is_refused_where_it_is_read_only(disk):
    async with await opened(disk.folder):
        disk.fill()
    command = ["flock", disk.folder / "lock", "sh", "-c", "echo held; read x"]
    holder = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    try:
        assert holder.stdout.readline() == b"held\n"
        with pytest.raises(CatalogueError, match="another exporter uses this directory"):
            await opened(disk.folder)
    finally:
        holder.communicate(b"\n")
