"""Which source stamps a SourceStampFilter lets through."""

import pytest
from locum.schedulers import SourceStampFilter
from locum.schedulers.interface import StampFields

STAMP = {"project": "p", "codebase": "c", "repository": "https://r", "branch": "main", "revision": "1"}


@pytest.mark.parametrize("attribute", ["project", "codebase", "repository", "branch"])
def test_every_attribute_has_four_conditions(attribute):
    value = STAMP[attribute]
    for condition, given, expected in [
        ("eq", value, True),
        ("eq", ["x", value], True),
        ("eq", "x", False),
        ("not_eq", value, False),
        ("not_eq", ["x", "y"], True),
        ("re", value[:1], True),
        ("re", "x", False),
        ("not_re", [value[:1], "x"], False),
        ("not_re", "x", True),
    ]:
        assert SourceStampFilter(**{f"{attribute}_{condition}": given}).is_matched(STAMP) is expected, condition


def test_conditions_are_joined_by_and_and_none_let_all_through():
    assert SourceStampFilter().is_matched(STAMP)
    assert not SourceStampFilter(branch_eq="main", project_eq="x").is_matched(STAMP)


def test_the_default_branch_is_a_branch():
    default = StampFields(branch=None)
    assert SourceStampFilter(branch_eq=None).is_matched(default)
    assert SourceStampFilter(branch_not_re=".*").is_matched(default)
    assert not SourceStampFilter(branch_not_eq=None).is_matched(default)


@pytest.mark.parametrize(
    ("conditions", "said"),
    [
        ({"category_eq": "x"}, "category_eq: unknown condition"),
        ({"branch": "x"}, "branch: unknown condition; did you mean"),
        ({"branch_fn": "x"}, "branch_fn: unknown condition"),
        ({"property_eq": {}}, "property_eq: unknown condition"),
        ({"branch_eq": 3}, "branch_eq: expected text"),
        ({"branch_re": "("}, "branch_re: bad regular expression"),
    ],
)
def test_what_makes_no_sense_is_refused_by_name(conditions, said):
    with pytest.raises(ValueError) as refused:
        SourceStampFilter.from_mapping(conditions)
    assert str(refused.value).startswith(said)


def test_equal_conditions_make_equal_filters():
    assert SourceStampFilter(branch_eq=["a", "b"]) == SourceStampFilter(branch_eq=["b", "a"])
    assert SourceStampFilter(branch_eq="a") != SourceStampFilter(branch_not_eq="a")
    assert repr(SourceStampFilter(branch_eq="a")) == "SourceStampFilter(branch_eq='a')"
