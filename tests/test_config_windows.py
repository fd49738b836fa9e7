"""The keys `schedule`, `timezone`, `windows` and `freezes`; tests/data/config/bad has their mistakes."""

import re
from datetime import UTC, datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.config import ConfigurationError, load
from exporter.config.loading import differing
from exporter.cron import Cron
from exporter.windows import Freeze
from exporter.workloads import WorkloadKey

NIGHTS = "{name: nights, schedule: 0 22 * * *, duration: 6h"


def read(tmp_path, text, **environment):
    file = tmp_path / "configuration.yaml"
    file.write_text(text)
    return load(file, environment, files=False)


def at(written):
    return datetime.fromisoformat(written).timestamp()


@pytest.mark.parametrize(
    ("text", "zone"),
    [
        ("schedule: 0 8 * * 1-5", "UTC"),
        ("schedule: 0 8 * * 1-5\ntimezone: Europe/Berlin", "Europe/Berlin"),
        ("timezone: Europe/Berlin\nschedule: 0 8 * * 1-5\ninterval:", "Europe/Berlin"),
    ],
)
def test_a_schedule_is_in_the_time_zone_of_the_configuration(tmp_path, text, zone):
    loaded = read(tmp_path, text)
    assert loaded.schedule == loaded.settings().schedule == Cron("0 8 * * 1-5", ZoneInfo(zone))


def test_a_time_zone_of_the_environment_is_that_of_everything_in_the_file(tmp_path):
    text = f"timezone: UTC\nschedule: 0 8 * * *\nwindows: [{NIGHTS}}}]\nfreezes: [{{from: 2026-12-24, to: 2026-12-24}}]"
    loaded = read(tmp_path, text, IMAGE_PATCH_TIMEZONE="Africa/Lagos")
    lagos = ZoneInfo("Africa/Lagos")
    assert loaded.schedule == Cron("0 8 * * *", lagos)
    assert loaded.windows[0].cron == Cron("0 22 * * *", lagos)
    assert loaded.freezes == (Freeze(start=at("2026-12-24T00:00+01:00"), end=at("2026-12-25T00:00+01:00")),)


def test_what_is_overridden_in_the_environment_still_excludes_a_schedule(tmp_path):
    with pytest.raises(
        ConfigurationError, match="environment variable IMAGE_PATCH_INTERVAL: interval: conflicts with schedule"
    ):
        read(tmp_path, "schedule: 0 8 * * *", IMAGE_PATCH_INTERVAL="5m")


def test_a_wrong_time_zone_is_the_only_error(tmp_path):
    with pytest.raises(ConfigurationError, match="line 2: timezone: found 'Nairobi'"):
        read(tmp_path, f"windows: [{NIGHTS}}}]\ntimezone: Nairobi")


@pytest.mark.parametrize(
    ("written", "start", "end"),
    [
        ("{from: 2026-12-24, to: 2026-12-26}", "2026-12-24T00:00+00:00", "2026-12-27T00:00+00:00"),
        ("{from: '2026-12-24', to: '2026-12-24'}", "2026-12-24T00:00+00:00", "2026-12-25T00:00+00:00"),
        ("{from: 2026-12-24T18:00:00Z, to: 2026-12-26}", "2026-12-24T18:00+00:00", "2026-12-27T00:00+00:00"),
        ("{from: 2026-12-24 18:00:00 +03:00, to: 2026-12-26}", "2026-12-24T15:00+00:00", "2026-12-27T00:00+00:00"),
        (
            "{from: 2026-04-24, to: 2026-04-24, timezone: Africa/Cairo}",
            "2026-04-24T01:00+03:00",
            "2026-04-25T00:00+03:00",
        ),
    ],
    ids=["dates", "one date", "a time and a date", "as YAML writes times", "a date without midnight"],
)
def test_a_freeze_is_from_a_time_or_the_beginning_of_a_date_to_a_time_or_the_end_of_one(tmp_path, written, start, end):
    (freeze,) = read(tmp_path, f"freezes: [{written}]").freezes
    assert (freeze.start, freeze.end) == (at(start), at(end))


def test_the_calendar_has_the_windows_and_freezes(tmp_path):
    text = f"windows: [{NIGHTS}, namespaces: [mojaloop]}}]\nfreezes: [{{from: 2026-12-24, to: 2026-12-26}}]"
    calendar = read(tmp_path, text).calendar()
    ledger = WorkloadKey("mojaloop", "Deployment", "ledger")
    assert calendar.remaining(ledger, at("2026-12-23T22:30Z")) == 1.5 * 3600
    assert calendar.remaining(ledger, at("2026-12-25T22:30Z")) == 0.0
    assert calendar.next_start(ledger, at("2026-12-25T22:30Z")) == (at("2026-12-27T00:00Z"), calendar.windows[0])


def test_all_of_them_apply_without_a_restart(tmp_path):
    before = read(tmp_path, f"schedule: 0 8 * * *\nwindows: [{NIGHTS}}}]")
    same = read(tmp_path, f"windows: [{NIGHTS}}}]\nschedule: 0 8 * * *")
    assert differing(before, same) == ()
    after = read(
        tmp_path,
        "schedule: 0 9 * * *\ntimezone: Africa/Lagos\nwindows: []\nfreezes: [{from: 2026-12-24, to: 2026-12-26}]",
    )
    changed = differing(before, after)
    assert [key.name for key in changed] == ["schedule", "timezone", "windows", "freezes"]
    assert all(key.live for key in changed)


DOCUMENT = (Path(__file__).parent.parent / "docs" / "windows.md").read_text()


def test_the_examples_of_the_documentation(tmp_path):
    lookups, windows = (read(tmp_path, text) for text in re.findall("```yaml\n(.*?)```", DOCUMENT, re.DOTALL))
    assert lookups.schedule.longest_gap(0.0) == 72 * 3600
    (weeknights,) = windows.windows
    calendar = windows.calendar()
    friday, frozen = at("2026-12-25T22:00+03:00"), at("2027-01-02T23:59:59+03:00")
    assert calendar.remaining(WorkloadKey("mojaloop", "Deployment", "ledger"), friday) == 6 * 3600
    assert calendar.remaining(WorkloadKey("backing", "Deployment", "redis"), friday) == 0
    assert calendar.next_opening(weeknights, at("2026-12-28T00:00+03:00")) == at("2027-01-04T22:00+03:00")
    assert calendar.freeze(frozen).name == "month-end"
    assert calendar.freeze(frozen + 1) is None


def test_the_schedules_of_the_documentation_fire_when_it_says():
    (block,) = re.findall("```text\nminute.*?\n(.*?)```", DOCUMENT, re.DOTALL)
    found = []
    for line in block.splitlines():
        schedule, _, said = line.rpartition(" # ")
        cron = Cron(" ".join(schedule.split()))
        found.append(
            (datetime.fromtimestamp(cron.after(at("2026-01-02T22:10Z")), UTC).strftime("%a %d %b %H:%M"), said)
        )
    assert found == [
        ("Mon 05 Jan 08:00", "08:00 from Monday to Friday"),
        ("Fri 02 Jan 22:15", "every quarter of an hour"),
        ("Sat 31 Jan 22:00", "22:00 on the last day of the month"),
        ("Sun 04 Jan 03:30", "03:30 on the first Sunday of January and July"),
    ]


_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=12) | st.sampled_from(["2026-12-24", "6h", "a", "*"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["name", "schedule", "duration", "timezone", "namespaces", "workloads", "from", "to"]),
            inner,
        )
    ),
    max_leaves=12,
)


@given(st.sampled_from(["schedule", "timezone", "windows", "freezes"]), _VALUES)
def test_any_value_is_accepted_or_refused_with_its_place(key, value):
    import yaml

    variable = f"IMAGE_PATCH_{key.upper()}"
    try:
        load(None, {variable: yaml.safe_dump(value), "HOME": "/home/hub"})
    except ConfigurationError as error:
        assert variable in str(error)
