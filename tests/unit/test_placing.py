"""Evening out: as even as the standbys allow, by as few moves as possible."""

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st
from locum.db.placing import evened

MASTERS = ("a", "b", "c")


def loads(held, moves):
    place = {s: moves[s][1] if s in moves else m for s, m in held.items()}
    return Counter(place.values())


def test_ten_on_one_of_three_become_four_three_three_by_six_moves():
    held = dict.fromkeys(range(10), "a")
    moves = evened(held, {s: MASTERS for s in held}, MASTERS)
    assert len(moves) == 6
    assert sorted(loads(held, moves).values()) == [3, 3, 4]


def test_a_scheduler_goes_only_where_it_is_configured_even_if_another_must_make_room():
    held = {1: "a", 2: "a", 3: "a", 4: "b"}
    standby = {1: "ab", 2: "ab", 3: "ab", 4: "bc"}
    moves = evened(held, standby, MASTERS)
    assert sorted(loads(held, moves).values()) == [1, 1, 2]
    assert moves[4] == ("b", "c") and len(moves) == 2


def test_what_a_master_that_is_not_counted_holds_stays():
    assert evened({1: "x", 2: "x"}, {1: "xa", 2: "xa"}, ("a",)) == {}


@given(
    st.dictionaries(st.integers(0, 40), st.sampled_from(MASTERS)),
    st.data(),
)
def test_the_result_is_allowed_and_no_single_move_would_make_it_more_even(held, data):
    others = {s: data.draw(st.sets(st.sampled_from(MASTERS))) | {m} for s, m in held.items()}
    moves = evened(held, others, MASTERS)
    assert all(source == held[s] and source != target and target in others[s] for s, (source, target) in moves.items())
    place = {s: moves[s][1] if s in moves else m for s, m in held.items()}
    load = {m: 0 for m in MASTERS} | Counter(place.values())
    assert not [(s, m) for s in place for m in others[s] if load[m] <= load[place[s]] - 2]
    assert evened(place, others, MASTERS) == {}


def test_ten_thousand_take_well_under_a_second_each_way():
    held = dict.fromkeys(range(10_000), "a")
    moves = evened(held, {s: MASTERS for s in held}, MASTERS)
    assert len(moves) == 6666
