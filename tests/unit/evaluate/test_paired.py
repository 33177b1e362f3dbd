"""Paired tests against scipy, against published cases, and against what they promise in simulation."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from noria.evaluate import paired

COUNTS = st.tuples(st.integers(0, 40), st.integers(0, 40))


@given(COUNTS)
def test_mcnemar_is_the_binomial_test(counts: tuple[int, int]) -> None:
    gains, losses = counts
    if gains + losses == 0:
        assert paired.mcnemar_better(0, 0) == 1.0
        assert paired.mcnemar_two_sided(0, 0) == 1.0
        return
    assert paired.mcnemar_better(gains, losses) == pytest.approx(stats.binomtest(gains, gains + losses, alternative="greater").pvalue)
    assert paired.mcnemar_two_sided(gains, losses) == pytest.approx(stats.binomtest(gains, gains + losses).pvalue)


def test_counts_of_a_written_out_case() -> None:
    counts = paired.paired_counts([True, True, False, False, False], [True, False, True, True, False])
    assert (counts.both, counts.losses, counts.gains, counts.neither) == (1, 1, 2, 1)
    assert (counts.before, counts.after, counts.effect) == (0.4, 0.6, 0.2)


@pytest.mark.parametrize("pair", [([], []), ([True], [True, False])])
def test_counts_need_the_same_items(pair: tuple[list[bool], list[bool]]) -> None:
    with pytest.raises(ValueError, match="same items"):
        paired.paired_counts(*pair)


def test_score_interval_agrees_with_tango() -> None:
    # Tango's interval is where his statistic is +-1.96.
    for gains, losses, n in [(12, 1, 50), (0, 0, 60), (3, 9, 14), (30, 0, 30), (0, 30, 30)]:
        low, high = paired.score_interval(gains, losses, n)
        assert -1 <= low <= (gains - losses) / n <= high <= 1
        if low > -1 + 1e-9:
            assert paired.score_statistic(gains, losses, n, low) == pytest.approx(1.959964, abs=1e-4)
        if high < 1 - 1e-9:
            assert paired.score_statistic(gains, losses, n, high) == pytest.approx(-1.959964, abs=1e-4)


def test_score_statistic_at_zero_is_mcnemars_chi() -> None:
    assert paired.score_statistic(15, 5, 100, 0.0) == pytest.approx((15 - 5) / np.sqrt(20))


def test_wilson_is_scipys() -> None:
    for passed, n in [(0, 10), (3, 10), (10, 10), (57, 200)]:
        reference = stats.binomtest(passed, n).proportion_ci(method="wilson")
        assert paired.wilson_interval(passed, n) == pytest.approx((reference.low, reference.high))


def test_score_interval_covers() -> None:
    rng = np.random.default_rng(3)
    draws = rng.multinomial(80, [0.25, 0.10, 0.65], size=150)
    inside = [low <= 0.15 <= high for low, high in (paired.score_interval(int(g), int(b), 80) for g, b, _ in draws)]
    assert 0.90 <= np.mean(inside) <= 0.99


@pytest.mark.parametrize(("n", "margin"), [(24, 0.1), (18, 0.2)])
def test_noninferiority_holds_its_level_at_every_loss_rate(n: int, margin: float) -> None:
    alpha = 0.05
    passing = [(g, b) for g, b in itertools.product(range(n + 1), repeat=2) if g + b <= n and paired.noninferior_binary(g, b, n, margin) <= alpha]
    gains, losses = np.array(passing).T
    for p_loss in np.linspace(margin, (1 + margin) / 2, 17):
        cell = np.column_stack([gains, losses, n - gains - losses])
        error = stats.multinomial.pmf(cell, n, [p_loss - margin, p_loss, 1 + margin - 2 * p_loss]).sum()
        assert error <= alpha * 1.02


def test_noninferiority_is_near_the_normal_tail_for_many_items() -> None:
    exact = paired.noninferior_binary(30, 42, paired.MAX_EXACT_ITEMS, 0.05)
    assert exact == pytest.approx(paired.noninferior_binary(30, 42, paired.MAX_EXACT_ITEMS + 1, 0.05), abs=0.004)


def test_more_losses_never_help() -> None:
    values = [paired.noninferior_binary(3, losses, 60, 0.1) for losses in range(12)]
    assert values == sorted(values)


def test_smallest_suite_can_just_show_it() -> None:
    for margin, items in [(0.05, 59), (0.1, 29)]:
        assert paired.smallest_suite(margin, 0.05) == items
        assert (1 - margin) ** items <= 0.05 < (1 - margin) ** (items - 1)


def test_bootstrap_interval_is_scipys_bca() -> None:
    rng = np.random.default_rng(5)
    before = rng.beta(2, 3, 60)
    after = before + rng.gamma(0.4, 0.2, 60) - 0.03
    ours = paired.paired_bootstrap(before, after, num_resamples=5_000, seed=1)
    reference = stats.bootstrap((after - before,), np.mean, method="BCa", n_resamples=5_000, rng=np.random.default_rng(1)).confidence_interval
    assert ours.interval == pytest.approx((reference.low, reference.high))
    assert ours.effect == pytest.approx(float(np.mean(after - before)))


def test_bootstrap_p_is_the_level_at_which_the_lower_bound_touches_the_threshold() -> None:
    rng = np.random.default_rng(6)
    after = rng.normal(0.1, 0.5, 50)
    ours = paired.paired_bootstrap(np.zeros(50), after)
    touching = paired.paired_bootstrap(np.zeros(50), after, level=1 - 2 * ours.p)
    assert touching.interval[0] == pytest.approx(0.0, abs=0.005)
    assert ours.p == pytest.approx(stats.ttest_1samp(after, 0, alternative="greater").pvalue, abs=0.02)


def test_bootstrap_repeats_and_knows_equal_scores() -> None:
    after = np.linspace(0, 1, 30)
    assert paired.paired_bootstrap(np.zeros(30), after, seed=4) == paired.paired_bootstrap(np.zeros(30), after, seed=4)
    same = paired.paired_bootstrap(after, after, threshold=-0.05)
    assert (same.effect, same.interval, same.p) == (0.0, (0.0, 0.0), 0.0)
    assert paired.paired_bootstrap(after, after).p == 1.0


def test_bootstrap_holds_its_level() -> None:
    rng = np.random.default_rng(7)
    ps = [paired.paired_bootstrap(np.zeros(40), rng.exponential(1, 40) - 1, num_resamples=1_000, seed=i).p for i in range(200)]
    assert np.mean(np.array(ps) <= 0.1) <= 0.15


def test_holm_of_a_written_out_case() -> None:
    assert paired.holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert paired.holm([0.9, 0.9]) == [1.0, 1.0]


def test_e_value_is_the_integral_of_the_wealth() -> None:
    for gains, losses in [(0, 0), (7, 2), (2, 7), (40, 10)]:
        stakes = (np.arange(200_000) + 0.5) / 200_000
        wealth = np.mean((1 + stakes) ** gains * (1 - stakes) ** losses)
        assert paired.mcnemar_e_value(gains, losses) == pytest.approx(wealth, rel=1e-3)


def test_e_value_may_be_watched() -> None:
    rng = np.random.default_rng(8)
    gains = np.cumsum(rng.integers(0, 2, size=(2_000, 200)), axis=1)
    losses = np.arange(1, 201) - gains
    assert np.mean((paired.mcnemar_e_value(gains, losses) >= 20).any(axis=1)) <= 0.05


def test_unpaired_z_of_a_written_out_case() -> None:
    # 30 of 50 against 40 of 50: pooled 0.7, standard error sqrt(0.7 * 0.3 * 2 / 50) = 0.09165, z = 2.182.
    assert paired.unpaired_z_better(30, 40, 50) == pytest.approx(stats.norm.sf(2.1822), abs=1e-4)


@settings(max_examples=25)
@given(st.integers(150, 400), st.sampled_from([0.05, 0.01]), st.sampled_from([0.3, 0.5]))
def test_minimum_detectable_effect_is_found_as_often_as_said(n: int, alpha: float, discordance: float) -> None:
    gain = paired.minimum_detectable_effect(n, alpha, discordance=discordance)
    share = max(discordance, gain)
    draws = np.random.default_rng(n).multinomial(n, [(share + gain) / 2, (share - gain) / 2, 1 - share], size=2_000)
    power = np.mean((draws[:, 0] - draws[:, 1]) / np.sqrt(np.maximum(draws[:, 0] + draws[:, 1], 1)) >= stats.norm.isf(alpha))
    assert power == pytest.approx(0.8, abs=0.09)


@given(st.lists(st.integers(-4, 4), min_size=1, max_size=9))
def test_sign_flips_are_counted_exactly(differences: list[int]) -> None:
    observed = sum(differences)
    sums = [sum(sign * d for sign, d in zip(signs, differences, strict=True)) for signs in itertools.product((-1, 1), repeat=len(differences))]
    assert paired.sign_flip_better(differences) == pytest.approx(np.mean([total >= observed for total in sums]))


@given(st.integers(0, 40), st.integers(0, 40), st.integers(0, 5))
def test_sign_flips_of_single_items_are_mcnemars_test(gains: int, losses: int, ties: int) -> None:
    differences = [1] * gains + [-1] * losses + [0] * ties
    assert paired.sign_flip_better(differences) == pytest.approx(float(paired.mcnemar_better(gains, losses)))


def test_items_of_one_group_are_summed_in_order_of_appearance() -> None:
    assert paired.group_sums([1, 0, 1, 1], ["b", "a", "b", "c"]).tolist() == [2.0, 0.0, 1.0]


def test_dialogues_that_win_or_lose_as_a_whole_keep_the_level() -> None:
    """Twenty decisions a dialogue that all turn out alike: counted one by one they cry wolf, counted by dialogue they do not."""
    rng = np.random.default_rng(5)
    runs = rng.choice([-20, 0, 20], size=(400, 12))
    assert np.mean([paired.sign_flip_better(run) <= 0.05 for run in runs]) <= 0.06
    assert np.mean(paired.mcnemar_better((runs == 20).sum(axis=1) * 20, (runs == -20).sum(axis=1) * 20) <= 0.05) > 0.3
