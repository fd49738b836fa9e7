"""The configuration file is reloaded when its content changes or on request; an invalid one changes nothing."""

import asyncio
import contextlib
import logging
import os
import threading
from functools import partial

import pytest

from exporter.config import Configuration, load
from exporter.reload import ConfigurationSource, Reloader
from exporter.telemetry import Telemetry
from exporter.versions import Strategy

pytestmark = pytest.mark.anyio
MINOR, MAJOR = "strategy: minor\n", "strategy: major\n"


class Followed:
    """A reloader on a file, with what it applied."""

    def __init__(self, path, *, environment=None, override=None):
        self.path, self.now = path, 1_000.0
        self.telemetry, self.applied = Telemetry(), []
        self.override = override or (lambda loaded: loaded)
        content = None if path is None else path.read_bytes()
        self.source = ConfigurationSource(path, partial(self._load, environment or {}), content)
        self.reloader = Reloader(
            self.source,
            self._load(environment or {}, content),
            apply=self._apply,
            telemetry=self.telemetry,
            clock=lambda: self.now,
        )

    def _load(self, environment, content):
        self.loaded_in = threading.current_thread()
        return self.override(load(self.path, environment, content=content))

    async def _apply(self, configuration, changed):
        self.applied.append((configuration, set(changed)))

    async def checks(self, count=2, *, requested=False):
        for _ in range(count):
            await self.reloader.check(requested=requested)

    @property
    def strategies(self):
        return [configuration.strategy for configuration, _ in self.applied]

    def metrics(self):
        """Whether the last load succeeded, when one did, and how often one did and did not."""
        value = self.telemetry.registry.get_sample_value
        return (
            value("mojaloop_exporter_config_last_reload_successful"),
            value("mojaloop_exporter_config_last_reload_success_timestamp_seconds"),
            value("mojaloop_exporter_config_reloads_total", {"result": "success"}),
            value("mojaloop_exporter_config_reloads_total", {"result": "failure"}),
        )


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "config.yaml"
    path.write_text("strategy: patch\n")
    return path


def write(path, text):
    path.write_text(text)


def rename(path, text):
    """As an editor saves: a new file takes the name of the old one."""
    (path.parent / "new").write_text(text)
    (path.parent / "new").rename(path)


@pytest.mark.parametrize("change", [write, rename])
async def test_new_content_is_used_once_two_readings_agree(file, change):
    followed = Followed(file)
    await followed.checks(3)
    assert followed.applied == []
    change(file, MINOR)
    await followed.checks(1)
    assert followed.applied == [], "it may still be written"
    followed.now = 2_000.0
    await followed.checks(3)
    ((configuration, changed),) = followed.applied
    assert (configuration.strategy, changed) == (Strategy.MINOR, {"strategy"})
    assert followed.metrics() == (1, 2_000, 1, 0)
    assert followed.loaded_in is not threading.main_thread()


async def test_a_file_that_is_being_written_is_not_used(file):
    followed = Followed(file)
    for text in ("", "watch:\n", "watch:\n  - redis:7.2.4\n", "watch:\n  - redis:7.2.4\n  - nginx:1.27.0\n"):
        file.write_text(text)
        await followed.checks(1)
    assert followed.applied == []
    await followed.checks(1)
    ((configuration, _),) = followed.applied
    assert [image.name for image in configuration.watch] == ["redis", "nginx"]


async def test_the_swap_of_a_config_map_is_noticed(tmp_path):
    """The kubelet writes a new folder and renames a symbolic link to it; the file itself is a link into that one."""

    def publish(version, text):
        (tmp_path / version).mkdir()
        (tmp_path / version / "config.yaml").write_text(text)
        (tmp_path / "..data_tmp").symlink_to(version)
        (tmp_path / "..data_tmp").rename(tmp_path / "..data")

    publish("..2026_1", MINOR)
    (tmp_path / "config.yaml").symlink_to("..data/config.yaml")
    followed = Followed(tmp_path / "config.yaml")
    publish("..2026_2", MAJOR)
    await followed.checks()
    assert followed.strategies == [Strategy.MAJOR]


async def test_an_invalid_file_changes_nothing_until_it_is_valid(file, caplog):
    followed = Followed(file)
    file.write_text("interval: 1h\nstrategy: newest\n")
    await followed.checks(4)
    assert followed.applied == []
    (record,) = caplog.records
    assert record.levelno == logging.ERROR
    assert f"{file}, line 2: strategy: found 'newest', expected one of patch, bugfix, minor, major" in record.message
    assert followed.metrics() == (0, 0, 0, 1), "counted once, not with every check"
    file.write_text(MINOR)
    await followed.checks()
    assert followed.strategies == [Strategy.MINOR]
    assert followed.metrics() == (1, 1_000, 1, 1)


async def test_back_to_the_content_in_force_counts_as_success(file):
    followed = Followed(file)
    valid = file.read_text()
    file.write_text("strategy: newest")
    await followed.checks()
    file.write_text(valid)
    await followed.checks()
    assert followed.metrics() == (1, 1_000, 1, 1)
    assert [changed for _, changed in followed.applied] == [set()]


async def test_a_file_that_is_gone_for_a_moment_is_no_error(file, caplog):
    followed = Followed(file)
    content = file.read_text()
    for _ in range(3):
        file.unlink()
        await followed.checks(4)
        file.write_text(content)
        await followed.checks()
    assert (followed.applied, caplog.records) == ([], [])
    assert followed.metrics()[2:] == (0, 0)


async def test_a_file_that_stays_away_is_an_error_until_it_is_back(file, caplog):
    followed = Followed(file)
    content = file.read_text()
    file.unlink()
    await followed.checks(10)
    (record,) = caplog.records
    assert f"{file}: No such file or directory; expected a readable file" in record.message
    assert followed.metrics() == (0, 0, 0, 1)
    file.write_text(content)
    await followed.checks()
    assert followed.metrics() == (1, 1_000, 1, 1), "also with the content that it had"


async def test_a_file_that_is_too_large_is_not_read_as_a_whole(file):
    followed = Followed(file)
    with file.open("wb") as opened:
        opened.truncate(100 << 30)
    await followed.checks(5)
    assert followed.metrics()[2:] == (0, 1)


async def test_a_request_loads_the_file_at_once_and_registries_again(file, caplog):
    caplog.set_level(logging.INFO)
    followed = Followed(file)
    file.write_text(MINOR)
    await followed.checks(1, requested=True)
    assert followed.strategies == [Strategy.MINOR]
    await followed.checks(1, requested=True)
    assert [changed for _, changed in followed.applied] == [{"strategy", "registries"}, {"registries"}]
    file.unlink()
    await followed.checks(1, requested=True)
    assert "No such file" in caplog.messages[-1]


async def test_a_request_without_a_file_is_logged(caplog):
    followed = Followed(None)
    await followed.checks(3)
    assert caplog.messages == []
    await followed.checks(1, requested=True)
    assert caplog.messages == ["SIGHUP: no configuration file to reload; set one with --config"]
    assert followed.metrics()[2:] == (0, 0)


async def test_what_needs_a_restart_is_named_in_one_line_and_does_not_change(file, caplog):
    followed = Followed(file)
    file.write_text('listen: "127.0.0.1:1"\nnamespaces: {include: [hub], exclude: [x]}\nstrategy: minor\n')
    await followed.checks()
    ((configuration, changed),) = followed.applied
    assert (configuration.listen, configuration.namespaces) == (Configuration().listen, Configuration().namespaces)
    assert changed == {"strategy"}
    assert caplog.messages == ["listen, namespaces.include, namespaces.exclude changed; restart to apply"]
    file.write_text('listen: "127.0.0.1:1"\n')
    await followed.checks()
    assert caplog.messages[1:] == ["listen changed; restart to apply"], "until it is what the exporter started with"


async def test_the_environment_and_options_still_take_precedence(file):
    followed = Followed(file, environment={"IMAGE_PATCH_STRATEGY": "major", "HOME": "/home/hub"})
    file.write_text("strategy: minor\ninterval: 2h\n")
    await followed.checks()
    ((configuration, changed),) = followed.applied
    assert (configuration.strategy, configuration.interval, changed) == (Strategy.MAJOR, 7200.0, {"interval"})


async def test_reading_does_not_hold_the_event_loop(tmp_path):
    """A named pipe without a writer: opening it waits, as a network file system that does not answer."""
    file = tmp_path / "config.yaml"
    file.write_text(MINOR)
    followed = Followed(file)
    file.unlink()
    os.mkfifo(file)
    checking = asyncio.create_task(followed.checks(1))
    for _ in range(100):
        await asyncio.sleep(0)
    assert not checking.done()
    threading.Thread(target=file.write_text, args=(MAJOR,), daemon=True).start()
    async with asyncio.timeout(60):
        await checking


async def test_it_checks_for_ever_and_a_request_does_not_wait_for_the_next_check(file):
    followed = Followed(file)

    async def until(strategies):
        async with asyncio.timeout(60):
            while followed.strategies != strategies:
                await asyncio.sleep(0.01)

    running = asyncio.create_task(followed.reloader.run(seconds=0.02))
    file.write_text(MINOR)
    await until([Strategy.MINOR])
    running.cancel()
    running = asyncio.create_task(followed.reloader.run(seconds=3600))
    file.write_text(MAJOR)
    followed.source.requested.set()
    await until([Strategy.MINOR, Strategy.MAJOR])
    running.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await running
