"""Plans are data: out to JSON, back, and refused where they cannot be carried out."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mobiledistill import InputError, Plan

groups = st.dictionaries(st.text(min_size=1), st.tuples(st.integers(1, 99), st.integers(0, 99)), max_size=5)


@given(groups=groups, bits=st.sampled_from([8, 16, 32]))
def test_json_round_trip(groups: dict[str, tuple[int, int]], bits: int) -> None:
    plan = Plan(
        channels={name: kept for name, (kept, _) in groups.items()},
        original_channels={name: kept + gone for name, (kept, gone) in groups.items()},
        bits=bits,
    )
    assert Plan.from_json(plan.to_json()) == plan
    assert plan.cuts_nothing == all(gone == 0 for _, gone in groups.values())


@pytest.mark.parametrize("kept", [0, 9, -1])
def test_a_plan_that_keeps_too_many_or_none_is_refused(kept: int) -> None:
    with pytest.raises(InputError, match="keep 1 to 8"):
        Plan(channels={"stem": kept}, original_channels={"stem": 8})


@pytest.mark.parametrize(
    "text",
    [
        *("", "[]", "{", '{"chanels": {}}', "[" * 100_000, '{"channels": 3}', '{"channels": ["stem"]}'),
        '{"channels": {"stem": 1}, "original_channels": "stem"}',
    ],
)
def test_what_is_no_plan_is_refused(text: str) -> None:
    with pytest.raises(InputError, match="This is no plan") as caught:
        Plan.from_json(text)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("kept", ['"1"', "1.5", "NaN", "true", "null", "[]"])
def test_channels_are_whole_numbers(kept: str) -> None:
    with pytest.raises(InputError, match="no whole number"):
        Plan.from_json(f'{{"channels": {{"stem": {kept}}}, "original_channels": {{"stem": 8}}}}')


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"layer_bits": {"stem": 3}}, "stores 'stem' in 3 bits; integer kernels have weights of 4 or 8"),
        ({"layer_bits": {"stem": "4"}}, "no whole number"),
        ({"ranks": {"head": 0}}, "gives 'head' a product of rank 0; a rank is 1 or more"),
    ],
)
def test_bits_and_ranks_out_of_range_are_refused(changed: dict[str, dict[str, int]], told: str) -> None:
    with pytest.raises(InputError, match=told):
        Plan(**changed)  # type: ignore[arg-type]  # what is refused
