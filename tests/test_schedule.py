"""Whose turn it is: fair among namespaces, whatever each has waiting, on a clock that never goes back."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.images import Repository
from exporter.schedule import Elapsed, Schedule
from exporter.workloads import OPERATOR

HUB = "docker.io"


def repository(name, registry=HUB):
    return Repository(registry, name)


def scheduled(*, at_once=4, most=1000, interval=3600.0):
    blocked = []
    schedule = Schedule(at_once=at_once, most=most, interval=interval, on_blocked=lambda *names: blocked.append(names))
    return schedule, blocked


def fill(schedule, namespace, count, *, due=0.0, registry=HUB):
    for number in range(count):
        schedule.put(repository(f"{namespace}/{number:05}", registry), namespaces=[namespace], due=due)


def names(repositories):
    return [one.path.partition("/")[0] for one in repositories]


class Clock:
    def __init__(self, now):
        self.now = now

    def __call__(self):
        return self.now


@pytest.mark.parametrize(
    ("wall", "steady", "elapsed"),
    [(10, 10, 10), (-1e9, 10, 10), (86400, 10, 86400), (10.001, 10, 10.001), (0, 0, 0)],
    ids=["both", "set back", "suspended", "adjusted", "none"],
)
def test_a_deadline_comes_by_whichever_clock_is_first(wall, steady, elapsed):
    clock, monotonic = Clock(1e9), Clock(50.0)
    passed = Elapsed(clock=clock, monotonic=monotonic)
    clock.now += wall
    monotonic.now += steady
    assert passed() == pytest.approx(elapsed)
    assert passed() == pytest.approx(elapsed), "and not again"


@given(st.lists(st.tuples(st.floats(-1e9, 1e9), st.floats(0, 1e6)), max_size=20))
def test_elapsed_time_never_goes_back_and_is_never_behind_the_monotonic_clock(steps):
    clock, monotonic = Clock(1e9), Clock(0.0)
    passed, last = Elapsed(clock=clock, monotonic=monotonic), 0.0
    for wall, steady in steps:
        clock.now += wall
        monotonic.now += steady
        now = passed()
        assert now >= last
        assert now >= monotonic.now - 1e-3
        last = now


def test_a_namespace_with_thousands_waiting_does_not_delay_another():
    schedule, _ = scheduled()
    fill(schedule, "hostile", 5000)
    assert names(schedule.begin(0.0)) == ["hostile"] * 3, "one turn is left to the others"
    fill(schedule, "hub", 10)
    assert names(schedule.begin(0.0)) == ["hub"]


def test_namespaces_take_turns():
    schedule, _ = scheduled()
    fill(schedule, "hostile", 5000)
    fill(schedule, "hub", 50)
    fill(schedule, "other", 50)
    running = schedule.begin(0.0)
    served = Counter(names(running))
    for _ in range(100):
        schedule.finish(running.pop(0), due=1e9)
        begun = schedule.begin(0.0)
        served.update(names(begun))
        running += begun
    assert (served["hub"], served["other"]) == (pytest.approx(35, abs=2), pytest.approx(35, abs=2))


def test_a_namespace_whose_lookups_take_for_ever_keeps_no_registry_to_itself():
    schedule, _ = scheduled()
    fill(schedule, "slow", 100)
    schedule.begin(0.0)
    for number in range(20):
        schedule.put(repository(f"hub/{number}"), namespaces=["hub"], due=0.0)
        (begun,) = schedule.begin(0.0)
        schedule.finish(begun, due=1e9)


def test_registries_have_turns_of_their_own():
    schedule, _ = scheduled()
    fill(schedule, "hub", 10)
    fill(schedule, "hub", 10, registry="quay.io")
    assert Counter(one.registry for one in schedule.begin(0.0)) == {HUB: 3, "quay.io": 3}


def test_a_repository_of_several_namespaces_is_looked_up_in_the_turn_of_the_first_that_has_one():
    schedule, _ = scheduled()
    fill(schedule, "hostile", 5000)
    shared = repository("hub/ledger")
    schedule.put(shared, namespaces=["hostile", "hub"], due=0.0)
    assert shared in schedule.begin(0.0)


def test_nobody_makes_a_repository_wait_by_using_it():
    schedule, _ = scheduled(most=10)
    fill(schedule, "hostile", 100)
    for _ in range(10):
        for one in schedule.begin(0.0):
            schedule.charge(one, 0.0)
            schedule.finish(one, due=1e9)
    shared = repository("hub/ledger")
    schedule.put(shared, namespaces=["hub"], due=0.0)
    schedule.use(shared, ["hostile", "hub"])
    assert schedule.begin(0.0) == [shared]


def ask_all(schedule, now):
    """Give every turn there is and end it, and count the questions by namespace."""
    asked = Counter()
    while begun := schedule.begin(now):
        for one in begun:
            asked.update(names([one]) if schedule.charge(one, now) else ())
            schedule.finish(one, due=1e9)
    return asked


def test_what_a_namespace_asks_of_a_registry_in_an_interval_is_limited_for_it_alone():
    schedule, blocked = scheduled(most=100, interval=1000.0)
    fill(schedule, "hostile", 500)
    fill(schedule, "hub", 50)
    fill(schedule, "hostile", 50, registry="quay.io")
    assert ask_all(schedule, 0.0) == {"hostile": 150, "hub": 50}
    assert blocked == [(HUB, "hostile")], "noticed once"
    assert schedule.wait(0.0) == pytest.approx(1.0), "it is looked at again soon"
    assert ask_all(schedule, 500.0) == {"hostile": 50}
    assert ask_all(schedule, 1e6) == {"hostile": 100}, "what is not used does not add up"


def test_what_the_operator_names_is_not_limited():
    schedule, blocked = scheduled(most=10)
    fill(schedule, OPERATOR, 100)
    assert sum(ask_all(schedule, 0.0).values()) == 100
    assert blocked == []


def test_what_others_ask_about_what_the_operator_names_is_theirs_to_pay():
    schedule, blocked = scheduled(most=10)
    shared = repository("mojaloop/ledger")
    schedule.put(shared, namespaces=[OPERATOR, "hostile"], due=0.0)
    questions, now = 0, 0.0
    while now < 600.0:
        for one in schedule.begin(now):
            while schedule.charge(one, now):
                questions += 1
            schedule.finish(one, due=now)
        now += 1.0
    assert 11 <= questions <= 10 + 10 * 600 / 3600 + 600 / 10, "one in each turn of the operator"
    assert ("docker.io", "hostile") in blocked
    schedule.use(shared, [OPERATOR])
    now += 10.0
    assert schedule.begin(now) == [shared]
    assert all(schedule.charge(shared, now) for _ in range(100)), "it is the operator's alone"


def test_another_interval_is_in_force_at_once():
    schedule, _ = scheduled(most=100, interval=1000.0)
    fill(schedule, "hub", 500)
    assert ask_all(schedule, 0.0) == {"hub": 100}
    schedule.set_interval(100.0)
    assert ask_all(schedule, 50.0) == {"hub": 50}


def test_a_repository_is_due_at_another_time():
    schedule, _ = scheduled()
    fill(schedule, "hub", 1)
    (one,) = schedule.begin(0.0)
    schedule.reschedule(one, 5.0)
    assert schedule.begin(10.0) == [], "while it is looked up, the end of that says when"
    schedule.finish(one, due=100.0)
    schedule.reschedule(one, 200.0)
    assert (schedule.begin(150.0), schedule.wait(150.0)) == ([], 50.0)
    schedule.reschedule(one, 160.0)
    assert schedule.begin(160.0) == [one]


def test_a_question_in_a_turn_is_refused_where_there_is_nothing_left():
    schedule, _ = scheduled(most=2)
    fill(schedule, "hub", 1)
    (one,) = schedule.begin(0.0)
    assert [schedule.charge(one, 0.0) for _ in range(3)] == [True, True, False]
    assert schedule.charge(repository("nobody/asked"), 0.0), "outside of a turn nothing is counted"


def test_a_repository_that_is_wanted_while_it_is_looked_up_is_due_again():
    schedule, _ = scheduled()
    fill(schedule, "hub", 1)
    (one,) = schedule.begin(0.0)
    schedule.expedite(one, 0.0)
    assert schedule.begin(0.0) == []
    schedule.finish(one, due=3600.0)
    assert schedule.begin(1.0) == [one]
    schedule.finish(one, due=3600.0)
    assert (schedule.begin(1.0), schedule.wait(600.0)) == ([], 3000.0)
    schedule.expedite(one, 2.0)
    assert schedule.begin(2.0) == [one]


def test_a_repository_that_is_removed_gives_its_turn_back():
    schedule, _ = scheduled()
    fill(schedule, "hub", 4)
    for one in schedule.begin(0.0):
        schedule.remove(one)
    (last,) = schedule.begin(0.0)
    assert last.path == "hub/00003"
    schedule.remove(last)
    assert schedule.begin(1e9) == []


def test_what_is_over_is_forgotten():
    schedule, _ = scheduled()
    for number in range(100):
        fill(schedule, f"namespace-{number}", 1)
    ask_all(schedule, 0.0)
    schedule.begin(3600.0)
    assert schedule._registries == {}


def test_what_changes_again_and_again_takes_no_more_memory():
    schedule, _ = scheduled()
    fill(schedule, "hub", 10)
    for turn in range(10_000):
        for one in schedule.begin(turn):
            schedule.finish(one, due=1e9)
        schedule.expedite(repository("hub/00003"), turn)
    assert len(schedule._sleeping) < 1000


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["put", "use", "remove", "expedite", "begin", "finish"]),
            st.integers(0, 9),
            st.integers(0, 3),
        ),
        max_size=80,
    )
)
def test_whatever_happens_no_repository_is_lost_and_no_turn_is_given_twice(steps):
    schedule, _ = scheduled(at_once=2)
    known, running, now = set(), set(), 0.0
    for what, number, namespace in steps:
        one = repository(f"x/{number}")
        users = [["a"], ["b"], ["a", "b"], []][namespace]
        now += 1
        if what == "put" and one not in known:
            schedule.put(one, namespaces=users, due=now + namespace)
            known.add(one)
        elif what == "use" and one in known:
            schedule.use(one, users)
        elif what == "remove" and one in known:
            schedule.remove(one)
            known.discard(one)
            running.discard(one)
        elif what == "expedite" and one in known:
            schedule.expedite(one, now)
        elif what == "finish" and one in running:
            schedule.finish(one, due=now + 5)
            running.discard(one)
        elif what == "begin":
            begun = schedule.begin(now)
            assert not running & set(begun)
            running |= set(begun)
            assert len(running) <= 2
    for one in running:
        schedule.finish(one, due=now)
    seen = set()
    for _ in range(40):
        for one in schedule.begin(now + 1000):
            seen.add(one)
            schedule.finish(one, due=1e9)
    assert seen == known
