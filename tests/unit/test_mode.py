"""The environment score: every line of it, its border, and its words."""

from dataclasses import replace

import pytest

from detect.mode import MachineProbe, Mode, choose_mode, probe_machine

GOOD = MachineProbe(
    python=(3, 12), is_port_free=True, n_cores=8, memory_bytes=16 * 2**30, has_model=True
)


def test_a_good_machine_scores_100_and_says_why() -> None:
    choice = choose_mode(GOOD)
    assert choice.score == 100
    assert choice.chosen is Mode.SERVER
    assert choice.reasons == (
        "Python 3.12 (+30)",
        "port for phones free (+20)",
        "8 cores (+20)",
        "16.0 GB of memory (+15)",
        "model present (+15)",
        "100 of 100, at least 70: inference runs in Python",
    )


@pytest.mark.parametrize(
    ("change", "score"),
    [
        ({"python": (3, 10)}, 70),
        ({"python": (3, 11)}, 100),
        ({"is_port_free": False}, 80),
        ({"n_cores": 3}, 80),
        ({"n_cores": 4}, 100),
        ({"memory_bytes": 2 * 2**30}, 85),
        ({"memory_bytes": int(3.8 * 2**30)}, 100),  # what a 4 GB machine reports
        ({"has_model": False}, 85),
        ({"python": (4, 0)}, 100),
    ],
)
def test_each_line_of_the_score(change: dict[str, object], score: int) -> None:
    assert choose_mode(replace(GOOD, **change)).score == score  # type: ignore[arg-type]


def test_below_the_border_server_mode_runs_and_says_that_browser_mode_is_not_there() -> None:
    weak = replace(GOOD, n_cores=1, memory_bytes=2**30)
    choice = choose_mode(weak)
    assert choice.score == 65
    assert choice.chosen is Mode.SERVER
    assert "1 core (0 of 20)" in choice.reasons
    assert "server mode only" in choice.reasons[-1]


def test_the_border_itself_is_server_mode() -> None:
    choice = choose_mode(replace(GOOD, memory_bytes=0, has_model=False))
    assert choice.score == 70
    assert "at least 70" in choice.reasons[-1]


@pytest.mark.parametrize("change", [{"n_cores": 0}, {"memory_bytes": -1}])
def test_impossible_probes_are_refused(change: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="expected"):
        replace(GOOD, **change)  # type: ignore[arg-type]


def test_probe_reads_this_machine() -> None:
    probe = probe_machine(is_port_free=True, has_model=False)
    assert probe.python >= (3, 11)
    assert probe.n_cores >= 1
    assert probe.memory_bytes > 2**28
    assert probe.is_port_free
    assert not probe.has_model
