"""After a restored backup nothing that the lost database handed out is good; and damage is found and named."""

import pytest
from locum.db import holding, listings, recovering, upgrading
from locum.db.effects import Effects
from locum.db.naming import Refused

from .scene import change_numbers, execute, joined, refused, registered, standing_by, taken


def recovered(db, **more):
    return db.write(recovering.recover, "ann@host", **more)


def test_after_recovering_no_former_holder_can_commit_and_terms_are_far_beyond(db):
    (quick,) = registered(db, "quick")
    term = taken(db, joined(db, "m1"), quick)[quick]
    done = recovered(db, force=True)
    assert (done.schedulers, done.masters_lost) == (1, 1)
    assert refused(db, "m1", Effects(quick, term)) == {quick}
    (line,) = db.read(listings.schedulers)
    assert line.term >= term + recovering.TERM_STEP and line.incarnation is None and line.digests == {}
    joined(db, "m2")
    standing_by(db, "m2", quick)
    (again,) = db.write(holding.take, "m2", [quick], "test")
    assert again.term > line.term


def test_a_term_that_fell_below_the_recorded_ones_rises_above_them(db):
    (quick,) = registered(db, "quick")
    taken(db, joined(db, "m1"), quick)
    execute(db, "INSERT INTO ownership (scheduler_id, term, since, why) VALUES (:i, 5000000, 1, 'x')", i=quick)
    assert any("term" in f.what for f in db.read(recovering.check))
    recovered(db, force=True)
    assert db.read(listings.schedulers)[0].term > 5_000_000
    assert db.read(recovering.check) == []


def test_recovering_gives_a_new_cluster_and_ids_beyond_all_known(db):
    change_numbers(db, "a", "b")
    execute(
        db,
        "INSERT INTO buildsets (id, reason, submitted_at, properties_json, tasks_left) VALUES (40, '', 0, '{}', 0)",
    )
    before = db.read(upgrading.versions).cluster_id
    done = recovered(db)
    assert done.old_cluster_id == before != done.cluster_id == db.read(upgrading.versions).cluster_id
    assert done.counters["changes"] == 2 + recovering.ID_MARGIN
    assert done.counters["buildsets"] == 40 + recovering.ID_MARGIN
    assert change_numbers(db, "c")["c"] > 2 + recovering.ID_MARGIN


def test_recovering_under_a_running_master_is_refused_and_changes_nothing(db):
    joined(db, "m1")
    before = db.read(upgrading.versions)
    with pytest.raises(Refused, match="m1"):
        recovered(db)
    assert db.read(upgrading.versions) == before
    execute(db, "UPDATE masters SET last_beat_at = last_beat_at - 120000000")
    assert recovered(db).masters_lost == 1


def test_a_new_database_is_well(db):
    assert db.read(recovering.check) == []


@pytest.mark.parametrize(
    ("damage", "named"),
    [
        ("UPDATE schedulers SET incarnation = 'ghost'", "'quick' is held under an incarnation"),
        ("UPDATE schedulers SET enabled = false, incarnation = 'm1'", "'quick' is disabled, and held"),
        ("UPDATE schedulers SET change_cursor = 99", "'quick' has read changes"),
        ("UPDATE counters SET value = 0 WHERE name = 'changes'", "counter 'changes' is 0, below 1"),
        ("DELETE FROM counters WHERE name = 'tasks'", "counter 'tasks' is missing"),
        (
            "INSERT INTO buildsets (id, reason, submitted_at, properties_json, tasks_left) VALUES (0, '', 0, '{}', 1)",
            "buildset '0' has no unfinished task",
        ),
        (
            "INSERT INTO tasks (id, buildset_id, builder_id, state, submitted_at) VALUES (0, 7, 1, 'queued', 0)",
            "task '0' belongs to a buildset",
        ),
        (
            "INSERT INTO buildset_sourcestamps (buildset_id, sourcestamp_id) VALUES (1, 9)",
            "sourcestamp of buildset '1'",
        ),
        ("UPDATE locum_alembic_version SET version_num = 'zzz'", "the migrations stand at"),
        ("UPDATE cluster SET schema_version = 0", "older than this release's"),
        ("UPDATE cluster SET oldest_compatible = 99, schema_version = 99", "too new"),
    ],
)
def test_damage_is_found_and_named(db, damage, named):
    registered(db, "quick")
    joined(db, "m1")
    change_numbers(db, "a")
    execute(db, damage)
    assert any(named in finding.what for finding in db.read(recovering.check))
