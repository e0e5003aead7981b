"""Conversion constants, each with its source; internal units are angstrom, eV, GeV and debye.

CODATA 2018 (Tiesinga et al., Rev. Mod. Phys. 93, 025010, 2021) unless said otherwise.
"""

from __future__ import annotations

#: One bohr in angstrom (CODATA 2018).
BOHR_ANGSTROM = 0.529177210903
#: One hartree in electronvolt (CODATA 2018).
HARTREE_EV = 27.211386245988
#: One kcal/mol in electronvolt: thermochemical calorie 4.184 J (exact), N_A and e exact in the 2019 SI.
KCAL_PER_MOL_EV = 4184.0 / (6.02214076e23 * 1.602176634e-19)
#: One hartree in kcal/mol, from the two above.
HARTREE_KCAL_PER_MOL = HARTREE_EV / KCAL_PER_MOL_EV
#: One atomic unit of electric dipole moment (e a0) in debye (CODATA 2018 e a0, 1 D = 1e-21/c C m).
DIPOLE_AU_DEBYE = 8.4783536255e-30 / (1e-21 / 299792458.0)
