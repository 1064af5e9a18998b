"""Units of measure in UCUM: whether a text is a unit.

The grammar and the terminal symbols are facts of *The Unified Code for Units of Measure*, version 2.1 (Schadow and
McDonald, Regenstrief Institute, 2017; free to use under the UCUM licence, https://ucum.org/license), case-sensitive
variant, with the four SI prefixes of version 2.2.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import lru_cache

__all__ = ["is_valid", "why_not"]

_PREFIXES = "Q R Y Z E P T G M k h da d c m u n p f a z y r q Ki Mi Gi Ti"

# Units that take a prefix.
_METRIC = """
A B B[10.nV] B[SPL] B[V] B[W] B[kW] B[mV] B[uV] Bd Bi Bq By C Cel Ci F G Gal Gb Gy H Hz J K Ky L Lmb Mx N Np Oe Ohm P
Pa R RAD REM S St Sv T U V W Wb [G] [IU] [c] [e] [eps_0] [g] [h] [iU] [k] [ly] [m_e] [m_p] [mu_0] ar bar bit cal
cal_IT cal_[15] cal_[20] cal_m cal_th cd dyn eV eq erg g g% gf kat l lm lx m m[H2O] m[Hg] mho mol osm pc ph rad s sb
sr st t tex u
"""

# Units that take none.
_OTHERS = """
% %[slope] ' '' 10* 10^ AU Ao [APL'U] [AU] [Amb'a'1'U] [BAU] [Btu] [Btu_39] [Btu_59] [Btu_60] [Btu_IT] [Btu_m]
[Btu_th] [CCID_50] [CFU] [Cal] [Ch] [D'ag'U] [EID_50] [ELU] [EU] [FEU] [FFU] [GPL'U] [HPF] [HP] [LPF] [Lf] [MET]
[MPL'U] [PFU] [PNU] [PRU] [S] [TCID_50] [USP'U] [acr_br] [acr_us] [anti'Xa'U] [arb'U] [bbl_us] [bdsk'U] [beth'U]
[bf_i] [bu_br] [bu_us] [car_Au] [car_m] [cft_i] [ch_br] [ch_us] [cicero] [cin_i] [cml_i] [cr_i] [crd_us] [cup_m]
[cup_us] [cyd_i] [degF] [degR] [degRe] [den] [didot] [diop] [dpt_us] [dqt_us] [dr_ap] [dr_av] [drp] [dye'U] [fdr_br]
[fdr_us] [foz_br] [foz_m] [foz_us] [ft_br] [ft_i] [ft_us] [fth_br] [fth_i] [fth_us] [fur_us] [gal_br] [gal_us]
[gal_wi] [gil_br] [gil_us] [gr] [hd_i] [hnsf'U] [hp'_C] [hp'_M] [hp'_Q] [hp'_X] [hp_C] [hp_M] [hp_Q] [hp_X] [in_br]
[in_i'H2O] [in_i'Hg] [in_i] [in_us] [ka'U] [kn_br] [kn_i] [knk'U] [kp_C] [kp_M] [kp_Q] [kp_X] [lb_ap] [lb_av] [lb_tr]
[lbf_av] [lcwt_av] [ligne] [lk_br] [lk_us] [lne] [lton_av] [m/s2/Hz^0.5] [mclg'U] [mesh_i] [mi_br] [mi_i] [mi_us]
[mil_i] [mil_us] [min_br] [min_us] [nmi_br] [nmi_i] [oz_ap] [oz_av] [oz_m] [oz_tr] [p'diop] [pH] [pc_br] [pca]
[pca_pr] [pi] [pied] [pk_br] [pk_us] [pnt] [pnt_pr] [pouce] [ppb] [ppm] [ppth] [pptr] [psi] [pt_br] [pt_us] [pwt_tr]
[qt_br] [qt_us] [rch_us] [rd_br] [rd_us] [rlk_us] [sc_ap] [sct] [scwt_av] [sft_i] [sin_i] [smgy'U] [smi_us] [smoot]
[srd_us] [ston_av] [stone_av] [syd_i] [tb'U] [tbs_m] [tbs_us] [todd'U] [tsp_m] [tsp_us] [twp] [wood'U] [yd_br] [yd_i]
[yd_us] a a_g a_j a_t atm att b bit_s circ d deg gon h min mo mo_g mo_j mo_s sph wk
"""

_UNITS = frozenset(
    [
        *_METRIC.split(),
        *_OTHERS.split(),
        *(prefix + unit for unit in _METRIC.split() for prefix in _PREFIXES.split()),
    ]
)

# The specification has no blank in an annotation, HL7's own list of common units has.
_ANNOTATION = r"\{[ -z|~]*\}"
# 10* and 10^ hold digits and a power; a symbol in square brackets may hold digits, points and slashes.
_SYMBOL = r"10[*^]|(?:[^\[\]{}()./0-9+\-*^]|\[[^\[\]{}]*\])+"
_PIECE = re.compile(
    rf"(?P<open>\()|(?P<close>\)(?:{_ANNOTATION})?)|(?P<operator>[./])"
    rf"|(?P<symbol>{_SYMBOL})(?P<exponent>[+-]?[0-9]+)?(?:{_ANNOTATION})?"
    rf"|(?P<factor>[0-9]+)(?:{_ANNOTATION})?|(?P<annotation>{_ANNOTATION})"
)


def is_valid(unit: str) -> bool:
    """Return whether `unit` is a unit in UCUM, case-sensitive: ``mg/dL``, ``10*3/uL``, ``mm[Hg]``, ``{score}``."""
    return why_not(unit) == ""


@lru_cache(maxsize=4096)
def why_not(unit: str) -> str:
    """Return why `unit` is not a UCUM unit, empty if it is one."""
    if not unit:
        return "empty"
    depth, at, component = 0, 0, False  # component: whether one has just been read
    while at < len(unit):
        piece = _PIECE.match(unit, at)
        if piece is None:
            return f"{unit[at:]!r} cannot be read"
        kind = piece.lastgroup if piece.lastgroup != "exponent" else "symbol"
        fault = _fault(kind or "", piece, component, starts=at == 0 or unit[at - 1] == "(")
        if fault:
            return fault
        depth += (kind == "open") - (kind == "close")
        if depth < 0:
            return "a parenthesis is closed that was not opened"
        component = kind not in ("open", "operator")
        at = piece.end()
    if depth:
        return "a parenthesis is not closed"
    return "" if component else "it ends with an operator"


def _fault(kind: str, piece: re.Match[str], component: bool, *, starts: bool) -> str:
    """What is wrong with one piece after what went before."""
    if kind == "operator":
        # Only a slash may start a term: /min.
        return "" if component or (starts and piece[0] == "/") else f"{piece[0]!r} has nothing before it"
    if kind == "close":
        return "" if component else "a parenthesis is closed on nothing"
    if component:
        return f"an operator is missing before {piece[0]!r}"
    if kind == "symbol" and piece["symbol"] not in _UNITS:
        return f"{piece['symbol']!r} is no unit{_hint(piece['symbol'], _UNITS)}"
    return ""


def _hint(symbol: str, units: Iterable[str]) -> str:
    """The unit that differs only in case, if there is just one."""
    near = [unit for unit in units if unit.lower() == symbol.lower()]
    return f"; {near[0]!r} is" if len(near) == 1 else ""
