"""The calendar on a real tenure and database: every nominal time of a stored schedule is an execution or a recorded skip."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from locum import config as configuration
from locum.db import orders, schedules
from locum.db.errors import DatabaseAway
from locum.db.naming import NotFound, Refused
from locum.master import configuring, stored_schedules
from locum.master.answering import _operate
from locum.master.schedules import Plan, Schedules, StartBuildset
from locum.schedulers.calendar import Calendar
from locum.schedulers.recurrence import (
    RecurrenceError,
    ScheduleCron,
    ScheduleImmed,
    ScheduleInterval,
    ScheduleNow,
    ScheduleOnce,
)
from twisted.internet.defer import Deferred

BEGAN = datetime(2026, 1, 5, tzinfo=UTC)


class Scene:
    """A bench with the calendar, and the API that programs use, on the same database and the same time."""

    def __init__(self, bench) -> None:
        self.bench = bench(lambda: Calendar("calendar"))
        self.api = Schedules(self.bench.db, "ann@host")

    def add(self, rule=None, **options) -> int:
        """Every ten seconds, unless a rule is given; from ten seconds after the bench began."""
        rule = rule or ScheduleInterval(BEGAN + timedelta(seconds=10), None, 10, "seconds")
        made = self.api.schedule(rule, options.pop("builders", ["unit"]), wait_s=0, **options)
        self.hear()
        return made

    def hear(self) -> None:
        """The wake-up that follows a change of a schedule."""
        if self.bench._activation is not None and self.bench.tenure is not None:
            self.bench.tenure.stored.look()
        self.bench.settle()

    def due(self, schedule: int) -> list[tuple[float | None, str]]:
        """(nominal second, state) of each execution, oldest first."""
        rows = self.bench.db.read(schedules.newest, schedule, 1000)[::-1]
        return [(None if r.due_at is None else self.bench.seconds(r.due_at), r.result or r.state) for r in rows]

    def skips(self, schedule: int) -> list[tuple[float, float, int, str]]:
        rows = self.bench.db.read(schedules.skips, schedule, 1000)[::-1]
        return [(self.bench.seconds(r.first), self.bench.seconds(r.last), r.count, r.reason) for r in rows]

    def finish_all(self, schedule: int, result: str = "success") -> None:
        for row in self.api.unfinished(schedule):
            if row.state == "started":
                self.bench.finish(row.id, result)

    def ask(self, kind: str, **body):
        """What the calendar answers to a message."""
        answer = []

        async def serve(scheduler):
            answer.append(await getattr(scheduler, kind)(**body))
            return answer[-1]

        number = len(self.bench.sql("SELECT id FROM messages")) + 1
        self.bench.sql(
            "INSERT INTO messages (id, scheduler_id, key, kind, body_json, made_at, made_by)"
            " VALUES (:n, :s, :n, :k, '{}', 0, '')",
            n=number,
            s=self.bench.id,
            k=kind,
        )
        self.bench.message(number, serve)
        return answer[-1]


@pytest.fixture
def scene(bench) -> Scene:
    return Scene(bench)


def test_each_nominal_time_is_an_execution_that_starts_a_buildset_of_the_same_id(scene):
    made = scene.add(name="often", properties={"speed": "fast"}, branch="main", priority=3, overlap="allow")
    scene.bench.advance(25)
    assert scene.due(made) == [(10.0, "started"), (20.0, "started")]
    first, second = scene.bench.built
    assert [first.id, second.id] == [row.id for row in scene.api.unfinished(made)]
    assert (first.at, second.at) == (10.0, 20.0)
    assert first.properties["speed"] == ("fast", "Schedule") and first.properties["schedule"] == ("often", "Schedule")
    assert first.properties["due"] == ("2026-01-05T00:00:10Z", "Schedule")
    assert (first.stamps[0]["branch"], first.priority, first.builders) == ("main", 3, ["unit"])
    assert first.reason == "Schedule often, due 2026-01-05T00:00:10Z"


def test_an_execution_is_finished_with_its_buildset(scene):
    made = scene.add()
    scene.bench.advance(10)
    scene.finish_all(made, "warnings")
    assert scene.due(made) == [(10.0, "warnings")]
    assert scene.api.unfinished(made) == [] and scene.api.outcome(made) == "warnings"


def test_now_and_immed_fire_at_once_and_are_over(scene):
    for rule in (ScheduleNow(), ScheduleImmed(), ScheduleOnce()):
        made = scene.add(rule)
        assert [state for _, state in scene.due(made)] == ["started"]
        assert scene.bench.db.read(schedules.these, [made])[0].ended_at is not None


def test_two_schedules_may_fire_at_the_same_instant(scene):
    made = [scene.add() for _ in range(3)]
    scene.bench.advance(10)
    assert [scene.due(one) for one in made] == [[(10.0, "started")]] * 3


# -- what nobody could serve -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("catch_up", "served", "skipped"),
    [("one", [40.0], 3), ("all", [10.0, 20.0, 30.0, 40.0], 0), ("none", [], 4)],
)
def test_what_came_due_while_nobody_was_up_is_caught_up_with(scene, catch_up, served, skipped):
    made = scene.add(catch_up=catch_up, overlap="allow")
    scene.bench.die()
    scene.bench.advance(45)
    scene.bench.start()
    assert [due for due, _ in scene.due(made)] == served
    assert sum(count for _, _, count, _ in scene.skips(made)) == skipped
    scene.bench.advance(10)
    assert [due for due, _ in scene.due(made)] == [*served, 50.0]


def test_a_fire_older_than_grace_is_missed(scene):
    made = scene.add(grace="15s", catch_up="all", overlap="allow")
    scene.bench.die()
    scene.bench.advance(41)
    scene.bench.start()
    assert [due for due, _ in scene.due(made)] == [30.0, 40.0]
    assert scene.skips(made) == [(10.0, 20.0, 2, "missed: older than grace")]


def test_catch_up_is_bounded(scene):
    made = scene.add(catch_up="all", catch_up_limit=2, overlap="allow")
    scene.bench.die()
    scene.bench.advance(45)
    scene.bench.start()
    assert [due for due, _ in scene.due(made)] == [30.0, 40.0]
    assert [skip[:3] for skip in scene.skips(made)] == [(10.0, 20.0, 2)]


def test_jitter_delays_the_start_and_not_the_nominal_time(scene):
    made = scene.add(jitter=8, overlap="allow")
    scene.bench.advance(100)
    assert [due for due, _ in scene.due(made)] == [float(s) for s in range(10, 10 * len(scene.due(made)) + 1, 10)]
    late = [built.at - due for built, (due, _) in zip(scene.bench.built, scene.due(made), strict=True)]
    assert all(0 <= s < 8 for s in late) and len(set(late)) > 3


def test_times_due_while_the_calendar_was_disabled_are_skips(scene):
    made = scene.add(catch_up="all", overlap="allow")
    scene.bench.disable()
    scene.bench.advance(25)
    scene.bench.enable()
    scene.bench.advance(10)
    assert [due for due, _ in scene.due(made)] == [30.0]
    assert scene.skips(made) == [(10.0, 20.0, 2, "the calendar was disabled")]


@pytest.mark.parametrize(("catch_up", "served"), [("one", [30.0]), ("all", [10.0, 20.0, 30.0]), ("none", [])])
def test_a_paused_one_fires_nothing_and_catch_up_decides_when_it_is_resumed(scene, catch_up, served):
    made = scene.add(catch_up=catch_up, overlap="allow")
    assert scene.api.pause(made, "holidays") and not scene.api.pause(made)
    scene.hear()
    scene.bench.advance(35)
    assert scene.due(made) == []
    assert scene.api.resume(made) and not scene.api.resume(made)
    scene.hear()
    assert [due for due, _ in scene.due(made)] == served
    assert len(served) + sum(count for _, _, count, _ in scene.skips(made)) == 3
    scene.bench.advance(6)
    assert scene.due(made)[-1][0] == 40.0


def test_a_failover_between_any_two_fires_loses_and_doubles_nothing(scene):
    made = scene.add(catch_up="all", overlap="allow")
    for _ in range(8):
        scene.bench.advance(7)
        scene.bench.fail_over()
    assert [due for due, _ in scene.due(made)] == [10.0, 20.0, 30.0, 40.0, 50.0]
    assert scene.skips(made) == []


def test_a_database_that_is_away_for_a_while_loses_nothing(scene):
    made = scene.add(catch_up="all", overlap="allow")
    scene.bench.advance(5)
    scene.bench.database_away(writes_only=False)
    scene.bench.advance(30)
    scene.bench.database_back()
    scene.bench.advance(10)
    assert [due for due, _ in scene.due(made)] == [10.0, 20.0, 30.0, 40.0]


# -- overlap -----------------------------------------------------------------------------------------------------------


def test_skip_drops_a_fire_while_the_last_run_is_unfinished_and_says_so(scene):
    made = scene.add()
    scene.bench.advance(25)
    assert scene.due(made) == [(10.0, "started")]
    assert scene.skips(made) == [(20.0, 20.0, 1, "overlap skip: the run before it was unfinished")]
    scene.finish_all(made)
    scene.bench.advance(10)
    assert scene.due(made) == [(10.0, "success"), (30.0, "started")]


def test_queue_keeps_one_waiting_and_starts_it_when_the_last_is_over(scene):
    made = scene.add(overlap="queue")
    scene.bench.advance(35)
    assert scene.due(made) == [(10.0, "started"), (20.0, "waiting")]
    assert scene.skips(made) == [(30.0, 30.0, 1, "overlap queue: one is waiting already")]
    scene.finish_all(made)
    assert scene.due(made) == [(10.0, "success"), (20.0, "started")]
    assert scene.bench.built[-1].id == scene.api.unfinished(made)[0].id


def test_what_waits_is_started_by_the_next_owner(scene):
    made = scene.add(overlap="queue")
    scene.bench.advance(21)
    scene.bench.die()
    (running, _) = scene.api.unfinished(made)
    scene.bench.finish(running.id)
    scene.bench.start()
    scene.bench.hear()
    assert scene.due(made)[:2] == [(10.0, "success"), (20.0, "started")]


def test_replace_stops_the_old_one_first_and_keeps_only_the_newest(scene):
    made = scene.add(overlap="replace")
    scene.bench.advance(12)
    (first,) = scene.api.unfinished(made)
    scene.bench.sql("UPDATE tasks SET state = 'executing', incarnation = 'm9', attempt = 1")  # it takes time to end
    scene.bench.advance(10)
    scene.bench.hear()
    assert scene.due(made) == [(10.0, "cancelled"), (20.0, "started")]
    assert [r.state for r in scene.bench.sql("SELECT state FROM tasks WHERE buildset_id = :b", b=first.id)] == [
        "cancelled"
    ]
    assert scene.skips(made) == []


def test_one_that_ended_while_the_calendar_was_disabled_holds_nothing_up(scene):
    made = scene.add()
    scene.bench.advance(12)
    scene.bench.disable()
    scene.finish_all(made)
    scene.bench.enable()
    scene.bench.advance(10)
    assert scene.due(made) == [(10.0, "success"), (20.0, "started")]


def test_allow_runs_beside(scene):
    made = scene.add(overlap="allow")
    scene.bench.advance(35)
    assert [state for _, state in scene.due(made)] == ["started"] * 3


def test_what_waits_for_a_removed_schedule_is_dropped_with_the_reason(scene):
    made = scene.add(overlap="queue")
    scene.bench.advance(21)
    scene.api.unschedule(made)
    scene.hear()
    scene.finish_all(made)
    assert scene.due(made) == [(10.0, "success"), (20.0, "dropped")]
    assert "removed" in scene.api.executions(made)[0].why


# -- what people do ----------------------------------------------------------------------------------------------------


def test_unscheduling_is_effective_at_once_even_if_no_master_hears_of_it(scene):
    made = scene.add()
    scene.bench.advance(5)
    scene.api.unschedule(made)  # no wake-up
    scene.bench.advance(30)
    assert scene.due(made) == [] and scene.bench.built == []
    with pytest.raises(NotFound):
        scene.api.unschedule(made)


def test_a_lost_wake_up_delays_a_new_schedule_by_seconds_only(scene):
    made = scene.api.schedule(ScheduleNow(), ["unit"])
    scene.bench.advance(stored_schedules.WINDOW_US / 1e6 + 1)
    assert [state for _, state in scene.due(made)] == ["started"]


def test_what_was_due_and_not_served_when_it_was_removed_is_recorded(scene):
    made = scene.add()
    scene.bench.die()
    scene.bench.advance(25)
    scene.api.unschedule(made)
    assert scene.skips(made) == [(10.0, 20.0, 2, "the schedule was removed before it could be served")]


def test_several_are_replaced_in_one_transaction_or_not_at_all(scene):
    old = [scene.add(name="a"), scene.add(name="b")]
    rule = ScheduleCron("0 3 * * *", "Europe/Berlin")
    with pytest.raises(Refused, match="unknown builder 'unti'; did you mean 'unit'"):
        scene.api.replace(old, [Plan(rule, StartBuildset(("unit",))), Plan(rule, StartBuildset(("unti",)))])
    with pytest.raises(NotFound):
        scene.api.replace([*old, 99], [Plan(rule, StartBuildset(("unit",)))])
    assert [row.id for row in scene.bench.db.read(schedules.listed, 10)] == old
    new = scene.api.replace(old, [Plan(rule, StartBuildset(("unit",)), name="a")])
    assert [row.id for row in scene.bench.db.read(schedules.listed, 10)] == new


def test_what_would_never_fire_is_refused(scene):
    with pytest.raises(RecurrenceError, match=r"when: .* lies in the past"):
        scene.api.schedule(ScheduleOnce(BEGAN - timedelta(seconds=1)), ["unit"])
    with pytest.raises(ValueError, match="builders: "):
        scene.api.schedule(ScheduleNow(), [])
    for wrong in (
        {"overlap": "x"},
        {"catch_up": "x"},
        {"grace": "x"},
        {"name": "12"},
        {"metadata": {1}},
        {"jitter": -1},
    ):
        with pytest.raises(ValueError, match=f"^{next(iter(wrong))}: "):
            scene.api.schedule(ScheduleNow(), ["unit"], **wrong)
    assert scene.bench.db.read(schedules.listed, 10, ended=True) == []


def test_run_now_moves_no_grid_and_runs_beside(scene):
    made = scene.add()
    scene.bench.advance(12)
    answer = scene.ask("runNow", schedule=made)
    assert scene.due(made) == [(10.0, "started"), (None, "started")]
    assert scene.bench.built[-1].id == answer["execution"] and "(run now)" in scene.bench.built[-1].reason
    scene.finish_all(made)
    scene.bench.advance(10)
    assert scene.due(made)[-1] == (20.0, "started")
    assert scene.ask("runNow", schedule=99) == {"error": "there is no schedule 99 any more"}


def test_backfill_runs_what_was_not_served_one_after_another(scene):
    made = scene.add()
    scene.bench.advance(35)  # 10 runs, 20 and 30 were skipped
    first = BEGAN.timestamp() * 1e6
    answer = scene.ask("backfill", schedule=made, first=int(first), last=int(first + 10**9))
    assert len(answer["executions"]) == 2 and answer["served_before"] == 1
    assert scene.due(made) == [(10.0, "started"), (20.0, "waiting"), (30.0, "waiting")]
    for _ in range(3):
        scene.finish_all(made)
    assert scene.due(made) == [(10.0, "success"), (20.0, "success"), (30.0, "success")]
    again = scene.ask("backfill", schedule=made, first=int(first), last=int(first + 10**9))
    assert again == {"executions": [], "served_before": 3}
    scene.bench.advance(6)
    assert scene.due(made)[-1] == (40.0, "started")


def test_a_builder_that_is_gone_is_a_recorded_skip_and_holds_nothing_up(scene):
    made = scene.add()
    other = scene.add(builders=["lint"])
    scene.bench._tools.builders = {k: v for k, v in scene.bench.builder_ids.items() if k != "unit"}
    scene.bench.advance(12)
    assert scene.due(made) == [] and scene.skips(made) == [(10.0, 10.0, 1, "unknown builder 'unit'")]
    assert scene.due(other) == [(10.0, "started")]
    assert scene.ask("runNow", schedule=made) == {"error": "unknown builder 'unit'"}


def test_one_that_cannot_be_read_is_paused_with_the_reason(scene):
    made = scene.add()
    other = scene.add()
    scene.bench.sql('UPDATE schedules SET rule_json = \'{"kind": "lunar"}\' WHERE id = :i', i=made)
    scene.hear()
    scene.bench.advance(12)
    row = scene.bench.db.read(schedules.these, [made])[0]
    assert row.paused and "kind: 'lunar' is unknown" in row.paused_why
    assert scene.due(other) == [(10.0, "started")]


# -- memory and failures -----------------------------------------------------------------------------------------------


def test_only_those_due_soon_are_in_memory(scene):
    later = ScheduleInterval(BEGAN + timedelta(days=2), None, 1, "hours")
    scene.api.replace((), [Plan(later, StartBuildset(("unit",))) for _ in range(500)])
    soon = scene.add()
    stored = scene.bench.tenure.stored
    assert set(stored._known) == {soon}
    scene.bench.advance(35)
    assert set(stored._known) <= {soon} and len(stored._ahead) <= 1 and len(stored._heap) <= 2
    assert len(scene.due(soon)) == 1


def test_more_overdue_than_are_read_at_once_are_all_served(scene, monkeypatch):
    monkeypatch.setattr(stored_schedules, "AT_MOST", 7)
    scene.bench.die()
    rule = ScheduleInterval(BEGAN + timedelta(seconds=10), None, 1, "hours")
    made = scene.api.replace((), [Plan(rule, StartBuildset(("unit",))) for _ in range(50)])
    scene.bench.advance(60)
    scene.bench.start()
    scene.bench.advance(5)
    assert [scene.due(one) for one in made] == [[(10.0, "started")]] * 50
    assert len(scene.bench.tenure.stored._known) <= 7


def test_nothing_is_asked_of_the_database_again_and_again_while_a_turn_waits(scene):
    asked = []
    scene.bench.remote.trouble = lambda what, function: asked.append(function.__name__)
    scene.add(ScheduleOnce(BEGAN + timedelta(days=30)))
    asked.clear()
    scene.bench.advance(600)
    assert asked.count("due") <= 600 / (stored_schedules.WINDOW_US / 1e6) + 1


def test_one_whose_serving_fails_waits_alone_and_is_paused_at_last(scene, monkeypatch):
    made, other = scene.add(overlap="allow"), scene.add(overlap="allow")
    real = Calendar._fire

    async def fails(self, schedule, nominal, cause):
        if schedule.id == made:
            raise RuntimeError("broken")
        return await real(self, schedule, nominal, cause)

    monkeypatch.setattr(Calendar, "_fire", fails)
    scene.bench.advance(35)
    assert [due for due, _ in scene.due(other)] == [10.0, 20.0, 30.0] and scene.due(made) == []
    assert list(scene.bench.failures) == [f"schedule:{made}"]
    scene.bench.fail_over()
    scene.bench.advance(60)
    assert scene.due(made) == [] and len(scene.due(other)) >= 8
    scene.api.unschedule(other)
    monkeypatch.setattr(stored_schedules, "WINDOW_US", 1800 * 10**6)  # else twelve hours are a thousand readings
    scene.bench.advance(12 * 3600)
    row = scene.bench.db.read(schedules.these, [made])[0]
    assert row.paused and "failed again and again" in row.paused_why
    monkeypatch.setattr(Calendar, "_fire", real)
    scene.api.resume(made)
    scene.hear()
    assert len(scene.due(made)) == 1
    scene.bench.db.write(orders.retry_failure, "calendar", None, "ann")
    scene.bench.look()
    scene.bench.advance(1)
    assert scene.bench.failures == {}


def test_a_commit_whose_schedule_was_changed_in_between_is_made_anew(scene):
    made = scene.add(overlap="allow")
    other = scene.add(overlap="allow")
    changed = []

    def meanwhile(what, function):
        is_late = scene.bench.seconds(scene.bench.now_us()) >= 10
        if what == "write" and function.__name__ == "commit" and is_late and not changed:
            changed.append(scene.api.pause(made, "just now"))

    scene.bench.remote.trouble = meanwhile
    scene.bench.advance(25)
    assert changed == [True]
    assert scene.due(made) == [] and [due for due, _ in scene.due(other)] == [10.0, 20.0]


def test_a_database_error_while_reading_is_not_the_end(scene):
    made = scene.add(overlap="allow")
    scene.bench.advance(1)

    def trouble(what, function):
        if function.__name__ == "due":
            raise DatabaseAway("gone for a while")

    scene.bench.remote.trouble = trouble
    scene.bench.advance(30)
    scene.bench.remote.trouble = lambda what, function: None
    scene.bench.advance(10)
    assert [due for due, _ in scene.due(made)][-1] == 40.0


# -- being there -------------------------------------------------------------------------------------------------------


def checked(folder, calendar: str = "") -> list[str]:
    """The faults of a file whose one scheduler has the calendar's name."""
    file = folder / "master.yaml"
    file.write_text(
        f"cluster: {{ timezone: UTC{calendar} }}\n"
        "builders: [{ name: unit, steps: [{ shell: [make] }] }]\n"
        "schedulers:\n  - { type: Nightly, name: calendar, hour: 3, builderNames: [unit] }\n"
    )
    return [str(fault) for fault in configuring.check(configuration.load(file, {}))]


def test_its_name_is_not_anothers_unless_it_is_left_out(tmp_path):
    (fault,) = checked(tmp_path)
    assert "master.yaml:4:" in fault and "choose another, or set cluster.calendar: false" in fault
    assert checked(tmp_path, ", calendar: false") == []
    config = configuration.load(tmp_path / "master.yaml", {})
    assert configuring.built_in(config) == []


def test_asked_by_the_other_commands_verb_it_says_where_schedules_are_run(scene):
    answer = []
    Deferred.fromCoroutine(_operate(scene.bench.scheduler, "runNow", {})).addCallback(answer.append)
    Deferred.fromCoroutine(_operate(scene.bench.scheduler, "backfill", {"first": 0, "last": 1})).addCallback(
        answer.append
    )
    assert len(answer) == 2 and all("write 'locum schedule'" in one["error"] for one in answer)
