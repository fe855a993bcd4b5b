#!/usr/bin/env bash
# dp-accounting's two accountants mean different things by one and the same event where neighbours are data sets in which one
# record is another one: a GaussianDpEvent's noise multiplier is documented as noise over the bound on each value's norm, so that
# the sum moves by two bounds. The PLD accountant takes it so; the Rényi accountant takes it as noise over what the sum moves by,
# and says less than half the epsilon. It is the only one that takes batches of a fixed size drawn without replacement, and takes
# no other neighbours for them: there the multiplier has to be halved by whoever clips to a bound.
#
#     findings/dp_accounting_replace_one.sh
#
# Seen with dp-accounting 0.6.0 on Python 3.11, Linux x86-64; multiplier 2, 20 rounds, delta 1e-5, neighbours REPLACE_ONE:
#     PLD, GaussianDpEvent: 28.37
#     RDP, GaussianDpEvent: 12.30
#     RDP, 100 of 100 drawn without replacement: 12.30
#     exact, the sum moves by one bound: 11.48, by two: 28.37
# Also, calibrate_dp_mechanism ends in a ZeroDivisionError for such batches unless it is given an interval that begins above 0.
# Exits with 1 where that changes.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/env"
"$folder/env/bin/pip" install --quiet dp-accounting==0.6.0
"$folder/env/bin/python" - <<'PYTHON'
import sys

import dp_accounting as dp

ONE, DELTA, ROUNDS = dp.NeighboringRelation.REPLACE_ONE, 1e-5, 20
noise = dp.GaussianDpEvent(2.0)
drawn = dp.SampledWithoutReplacementDpEvent(100, 100, noise)


def epsilon(accountant, event):
    return accountant(neighboring_relation=ONE).compose(event, ROUNDS).get_epsilon(DELTA)


pld, rdp = epsilon(dp.pld.PLDAccountant, noise), epsilon(dp.rdp.RdpAccountant, noise)
batches = epsilon(dp.rdp.RdpAccountant, drawn)
one, two = (dp.get_epsilon_gaussian(2.0 / bounds / ROUNDS**0.5, DELTA) for bounds in (1, 2))
print(f"PLD, GaussianDpEvent: {pld:.2f}")
print(f"RDP, GaussianDpEvent: {rdp:.2f}")
print(f"RDP, 100 of 100 drawn without replacement: {batches:.2f}")
print(f"exact, the sum moves by one bound: {one:.2f}, by two: {two:.2f}")
divides = False
try:
    dp.calibrate_dp_mechanism(
        lambda: dp.rdp.RdpAccountant(neighboring_relation=ONE),
        lambda multiplier: dp.SampledWithoutReplacementDpEvent(1000, 100, dp.GaussianDpEvent(multiplier)),
        1.0,
        DELTA,
    )
except ZeroDivisionError:
    divides = True
print(f"calibration from 0 divides by zero: {divides}")
as_before = abs(pld - two) < 0.1 and batches == rdp < two / 2 and divides
sys.exit(0 if as_before else 1)
PYTHON
