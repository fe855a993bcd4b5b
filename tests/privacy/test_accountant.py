"""Laws of what noise is worth."""

import dp_accounting
import pytest

from fedkd.privacy.accountant import Accountant

ALL, SOME = Accountant(100, 100, 1e-5), Accountant(1000, 100, 1e-5)


def exact(multiplier, rounds, bounds=1):
    """Epsilon of Gaussian noise on a sum that one client moves by so many bounds."""
    return dp_accounting.get_epsilon_gaussian(multiplier / bounds / rounds**0.5, 1e-5)


def test_rounds_that_ask_all_clients_are_one_mechanism_of_less_noise():
    """As the library's other accountant has it, which composes them one by one."""
    one_by_one = dp_accounting.pld.PLDAccountant().compose(dp_accounting.GaussianDpEvent(3.0), 20)
    assert ALL.epsilon(3.0, 20) == pytest.approx(one_by_one.get_epsilon(1e-5), rel=1e-3)
    assert ALL.epsilon(3.0, 0) == 0


@pytest.mark.parametrize("accountant", [ALL, SOME], ids=["all", "some"])
@pytest.mark.parametrize("epsilon, rounds", [(8.0, 20), (0.5, 3)])
def test_the_multiplier_spends_just_what_may_be_spent(accountant, epsilon, rounds):
    multiplier = accountant.multiplier(epsilon, rounds)
    assert accountant.epsilon(multiplier, rounds) == pytest.approx(epsilon, rel=2e-3)
    assert 0 < accountant.epsilon(multiplier, 1) < accountant.epsilon(multiplier, rounds)


def test_who_hides_among_others_that_are_drawn_needs_less_noise():
    assert SOME.multiplier(2.0, 20) < 0.5 * ALL.multiplier(2.0, 20)


def test_a_client_that_is_another_one_moves_the_sum_by_two_bounds():
    """dp-accounting's Rényi accountant takes a multiple of the sensitivity, its events one of the bound."""
    assert Accountant(1000, 999, 1e-5).epsilon(5.0, 20) == pytest.approx(exact(5.0, 20, bounds=2))
    library, one = dp_accounting, dp_accounting.NeighboringRelation.REPLACE_ONE
    event = library.SampledWithoutReplacementDpEvent(1000, 100, library.GaussianDpEvent(2.5))
    drawn = library.rdp.RdpAccountant(neighboring_relation=one).compose(event, 20)
    assert SOME.epsilon(5.0, 20) == pytest.approx(drawn.get_epsilon(1e-5), rel=1e-3)
