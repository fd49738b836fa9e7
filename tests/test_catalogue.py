"""The catalogue keeps whole answers, through restarts, damage and registries that lie."""

import sqlite3
from pathlib import Path

import pytest

from exporter.catalogue import FILE, Catalogue, CatalogueError, IncompleteListError
from exporter.images import Repository
from exporter.telemetry import Telemetry
from exporter.verdicts import Question

pytestmark = pytest.mark.anyio
DATA = Path(__file__).parent / "data"
LEDGER = Repository("docker.io", "mojaloop/central-ledger")


class Clock:
    now = 1_000_000.0

    def __call__(self):
        return self.now


def opened(directory, clock=None, telemetry=None):
    return Catalogue.open(directory, clock=clock or Clock(), telemetry=telemetry or Telemetry())


async def latest(catalogue, tag="v1.0.0"):
    verdicts = await catalogue.judge(LEDGER, [Question(tag)])
    return None if verdicts is None else verdicts[0].latest


async def test_what_was_stored_is_there_after_a_restart(tmp_path):
    async with await opened(tmp_path) as catalogue:
        assert await latest(catalogue) is None
        assert (await catalogue.store(LEDGER, ["v1.0.0", "v1.0.1"], running=["v1.0.0"], etag='"x"')).changed
        assert await latest(catalogue) == "v1.0.1"
    async with await opened(tmp_path) as catalogue:
        assert await latest(catalogue) == "v1.0.1"
        assert await catalogue.etag(LEDGER) == '"x"'
        assert await catalogue.lookups() == {str(LEDGER): 1_000_000.0}


@pytest.mark.parametrize(
    "names", [[], ["v0.9.0"], ["v2.0.0", "v1.0.1"]], ids=["empty", "cut off", "without the running tag"]
)
async def test_a_list_that_is_not_whole_changes_nothing(tmp_path, names):
    async with await opened(tmp_path) as catalogue:
        await catalogue.store(LEDGER, ["v0.9.0", "v1.0.0", "v1.0.1"], running=["v1.0.0"])
        for _ in range(3):
            with pytest.raises(IncompleteListError):
                await catalogue.store(LEDGER, names, running=["v1.0.0"])
        assert await latest(catalogue) == "v1.0.1"
        assert await latest(catalogue, "v2.0.0") == "v2.0.0"


async def test_a_running_tag_that_was_never_listed_does_not_block_a_list(tmp_path):
    async with await opened(tmp_path) as catalogue:
        await catalogue.store(LEDGER, ["v1.0.1"], running=["v1.0.0"])
        await catalogue.store(LEDGER, ["v1.0.1", "v1.0.2"], running=["v1.0.0"])
        assert await latest(catalogue) == "v1.0.2"


async def test_a_tag_is_withdrawn_after_two_lists_without_it(tmp_path):
    async with await opened(tmp_path) as catalogue:
        await catalogue.store(LEDGER, ["v1.0.0", "v1.0.1"], running=["v1.0.0"])
        assert not (await catalogue.store(LEDGER, ["v1.0.0"], running=["v1.0.0"])).changed
        assert await latest(catalogue) == "v1.0.1"
        assert (await catalogue.store(LEDGER, ["v1.0.0"], running=["v1.0.0"])).changed
        assert await latest(catalogue) == "v1.0.0"


async def test_a_tag_that_comes_back_in_time_is_not_withdrawn(tmp_path):
    async with await opened(tmp_path) as catalogue:
        for names in (["v1.0.0", "v1.0.1"], ["v1.0.0"], ["v1.0.0", "v1.0.1"], ["v1.0.0"]):
            await catalogue.store(LEDGER, names, running=["v1.0.0"])
        assert await latest(catalogue) == "v1.0.1"


async def test_a_confirmed_list_counts_as_one_more_of_its_kind(tmp_path):
    async with await opened(tmp_path) as catalogue:
        assert not (await catalogue.confirm(LEDGER)).changed
        await catalogue.store(LEDGER, ["v1.0.0", "v1.0.1"], running=["v1.0.0"])
        await catalogue.store(LEDGER, ["v1.0.0"], running=["v1.0.0"])
        assert (await catalogue.confirm(LEDGER)).changed
        assert await latest(catalogue) == "v1.0.0"


async def test_the_first_missed_patch_is_dated_once_and_its_earliest_date_stays(tmp_path):
    async with await opened(tmp_path) as catalogue:
        await catalogue.store(LEDGER, ["v1.0.0", "v1.0.1", "v1.0.2"], running=["v1.0.0"])
        (verdict,) = await catalogue.judge(LEDGER, [Question("v1.0.0")])
        assert (verdict.undated, verdict.published, verdict.behind, verdict.first_seen) == (
            "v1.0.1",
            None,
            2,
            1_000_000.0,
        )
        await catalogue.record_published(LEDGER, "v1.0.1", 500.0)
        await catalogue.record_published(LEDGER, "v1.0.1", 900.0)
        await catalogue.record_published(LEDGER, "v1.0.1", None)
        (verdict,) = await catalogue.judge(LEDGER, [Question("v1.0.0")])
        assert (verdict.undated, verdict.published) == (None, 500.0)
        await catalogue.record_published(LEDGER, "v1.0.2", 300.0)
        (verdict,) = await catalogue.judge(LEDGER, [Question("v1.0.0")])
        assert verdict.published == 300.0


async def test_an_unknown_date_is_not_asked_for_again(tmp_path):
    async with await opened(tmp_path) as catalogue:
        await catalogue.store(LEDGER, ["v1.0.1"], running=[])
        await catalogue.record_published(LEDGER, "v1.0.1", None)
        (verdict,) = await catalogue.judge(LEDGER, [Question("v1.0.0")])
        assert (verdict.undated, verdict.published) == (None, None)


async def test_a_damaged_file_is_set_aside_and_said(tmp_path, caplog):
    (tmp_path / FILE).write_bytes(b"this is not a database, but it is long enough to be taken for one" * 100)
    telemetry = Telemetry()
    async with await opened(tmp_path, telemetry=telemetry) as catalogue:
        await catalogue.store(LEDGER, ["v1.0.1"], running=[])
        assert await latest(catalogue) == "v1.0.1"
    assert [path.name for path in tmp_path.glob("*.damaged-*")] == [f"{FILE}.damaged-1000000"]
    assert telemetry.registry.get_sample_value("mojaloop_exporter_catalogue_resets_total") == 1
    assert "set aside as" in caplog.text


async def test_a_file_of_a_later_release_is_set_aside_too(tmp_path):
    async with await opened(tmp_path):
        pass
    db = sqlite3.connect(tmp_path / FILE)
    db.execute("PRAGMA user_version = 99")
    db.close()
    async with await opened(tmp_path) as catalogue:
        assert await catalogue.lookups() == {}
    assert list(tmp_path.glob("*.damaged-*"))


async def test_two_exporters_do_not_share_a_folder(tmp_path):
    async with await opened(tmp_path):
        with pytest.raises(CatalogueError, match="another exporter uses this directory"):
            await opened(tmp_path)
    async with await opened(tmp_path):
        pass


async def test_a_folder_that_cannot_be_made_is_an_error_that_says_what_to_do(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(CatalogueError, match="--state-dir"):
        await opened(tmp_path / "file" / "below")


async def test_an_identical_list_is_a_confirmation_and_its_new_validator_is_kept(tmp_path):
    async with await opened(tmp_path) as catalogue:
        await catalogue.store(LEDGER, ["v1.0.0", "v1.0.1"], running=["v1.0.0"], etag='"x"')
        await catalogue.store(LEDGER, ["v1.0.0"], running=["v1.0.0"], etag='"y"')
        assert (await catalogue.store(LEDGER, ["v1.0.0"], running=["v1.0.0"], etag='"z"')).changed
        assert await latest(catalogue) == "v1.0.0"
        assert await catalogue.etag(LEDGER) == '"z"'


@pytest.mark.parametrize("etag", ['"é"', '"a\nb"', '"' + "x" * 2000 + '"', ""])
async def test_a_validator_that_cannot_be_sent_back_is_not_kept(tmp_path, etag):
    async with await opened(tmp_path) as catalogue:
        await catalogue.store(LEDGER, ["v1.0.0"], running=["v1.0.0"], etag=etag)
        assert not await catalogue.etag(LEDGER)


async def test_tags_that_say_nothing_are_not_kept(tmp_path):
    async with await opened(tmp_path) as catalogue:
        await catalogue.store(LEDGER, ["latest", *(f"sha-{n:040}" for n in range(1000))], running=[])
        await catalogue.store(LEDGER, ["latest", "main"], running=[])
        assert await latest(catalogue) == "v1.0.0"
    db = sqlite3.connect(tmp_path / FILE)
    assert db.execute("SELECT count(*) FROM release").fetchone() == (0,)
    db.close()


async def test_a_time_in_the_future_is_not_believed(tmp_path):
    clock = Clock()
    clock.now += 1e9
    async with await opened(tmp_path, clock) as catalogue:
        await catalogue.store(LEDGER, ["v1.0.0", "v1.0.1"], running=["v1.0.0"])
    clock.now = Clock.now
    async with await opened(tmp_path, clock) as catalogue:
        clock.now += 500
        (verdict,) = await catalogue.judge(LEDGER, [Question("v1.0.0")])
        assert verdict.first_seen == Clock.now, "since the exporter was started"
        await catalogue.store(LEDGER, ["v1.0.0", "v1.0.1", "v1.0.2"], running=["v1.0.0"])
        clock.now += 1
        (verdict,) = await catalogue.judge(LEDGER, [Question("v1.0.1")])
        assert verdict.first_seen == Clock.now + 500, "a tag that was seen later has its own time"


async def test_the_catalogue_of_an_earlier_release_is_taken_over(tmp_path):
    db = sqlite3.connect(tmp_path / FILE)
    db.executescript((DATA / "catalogue-1.sql").read_text())
    db.close()
    async with await opened(tmp_path) as catalogue:
        assert await catalogue.lookups() == {str(LEDGER): 900_000.0, "docker.io/library/redis": 800_000.0}
        assert await catalogue.etag(LEDGER) == '"x"'
        (verdict,) = await catalogue.judge(LEDGER, [Question("v1.0.0")])
        assert (verdict.latest, verdict.behind, verdict.first_seen) == ("v1.0.3", 3, 700_000.0)
        assert (verdict.published, verdict.undated) == (650_000.0, None)
        (verdict,) = await catalogue.judge(LEDGER, [Question("v1.0.1")])
        assert verdict.undated == "v1.0.2", "an unknown date is asked for again: a wrong clock made some so"
        assert (await catalogue.store(LEDGER, ["v1.0.0", "v1.0.1", "v1.0.2"], running=["v1.0.0"])).changed
        assert await latest(catalogue) == "v1.0.2", "v1.0.3 was absent once before"
