"""A master that cannot become a member says why."""

from __future__ import annotations

import pytest
from locum.tests.support.cluster import branch, single


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_a_master_whose_builders_the_database_refuses_does_not_say_that_its_name_is_taken(cluster):
    c = cluster(builders=single(), schedulers=[branch("quick")])
    c.start("m1")
    assert c.stop("m1") == [0]
    c.execute("ALTER TABLE builders RENAME COLUMN on_lost TO of_another_release")
    c.start("m1", wait=False)
    assert c.wait("m1") == 1
    assert "the database refuses what it registers: table builders has no column named on_lost" in c.log("m1")
    assert "has joined" not in c.log("m1")
