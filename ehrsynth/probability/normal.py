"""The standard normal distribution function and its inverse, on arrays, to double precision."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

__all__ = ["cdf", "quantile"]

Doubles = npt.NDArray[np.float64]

# Hart (1968), "Computer Approximations", algorithm 5666, as given by West (2005), "Better approximations to cumulative
# normal functions", Wilmott Magazine.
_HART_TOP = (
    3.52624965998911e-02,
    0.700383064443688,
    6.37396220353165,
    33.912866078383,
    112.079291497871,
    221.213596169931,
    220.206867912376,
)
_HART_BOTTOM = (
    8.83883476483184e-02,
    1.75566716318264,
    16.064177579207,
    86.7807322029461,
    296.564248779674,
    637.333633378831,
    793.826512519948,
    440.413735824752,
)

# Wichura (1988), "Algorithm AS 241: the percentage points of the normal distribution", PPND16.
_CENTRE = (
    (
        2.5090809287301226727e3,
        3.3430575583588128105e4,
        6.7265770927008700853e4,
        4.5921953931549871457e4,
        1.3731693765509461125e4,
        1.9715909503065514427e3,
        1.3314166789178437745e2,
        3.3871328727963666080,
    ),
    (
        5.2264952788528545610e3,
        2.8729085735721942674e4,
        3.9307895800092710610e4,
        2.1213794301586595867e4,
        5.3941960214247511077e3,
        6.8718700749205790830e2,
        4.2313330701600911252e1,
        1.0,
    ),
)
_MIDDLE = (
    (
        7.74545014278341407640e-4,
        2.27238449892691845833e-2,
        2.41780725177450611770e-1,
        1.27045825245236838258,
        3.64784832476320460504,
        5.76949722146069140550,
        4.63033784615654529590,
        1.42343711074968357734,
    ),
    (
        1.05075007164441684324e-9,
        5.47593808499534494600e-4,
        1.51986665636164571966e-2,
        1.48103976427480074590e-1,
        6.89767334985100004550e-1,
        1.67638483018380384940,
        2.05319162663775882187,
        1.0,
    ),
)
_TAIL = (
    (
        2.01033439929228813265e-7,
        2.71155556874348757815e-5,
        1.24266094738807843860e-3,
        2.65321895265761230930e-2,
        2.96560571828504891230e-1,
        1.78482653991729133580,
        5.46378491116411436990,
        6.65790464350110377720,
    ),
    (
        2.04426310338993978564e-15,
        1.42151175831644588870e-7,
        1.84631831751005468180e-5,
        7.86869131145613259100e-4,
        1.48753612908506148525e-2,
        1.36929880922735805310e-1,
        5.99832206555887937690e-1,
        1.0,
    ),
)


def cdf(z: npt.ArrayLike) -> Doubles:
    """Return P(Z <= z) for a standard normal Z, with an absolute error below 1e-14.

    Parameters
    ----------
    z : float[...]
        Infinities allowed.
    """
    x = np.asarray(z, dtype=np.float64)
    size = np.abs(x)
    if (size < 7.07106781186547).all():
        # As nearly always.
        upper = np.exp(-size * size / 2) * _ratio((_HART_TOP, _HART_BOTTOM), size)
        return np.asarray(np.where(x > 0, 1 - upper, upper))
    near = np.minimum(size, 7.07106781186547)
    # Far out: four levels of the continued fraction of the tail.
    far = np.maximum(np.minimum(size, 40.0), 7.07106781186547)
    fraction = far + 1 / (far + 2 / (far + 3 / (far + 4 / (far + 0.65))))
    upper = np.where(
        size < 7.07106781186547,
        np.exp(-near * near / 2) * _ratio((_HART_TOP, _HART_BOTTOM), near),
        np.exp(-far * far / 2) / fraction / 2.506628274631,
    )
    return np.asarray(np.where(x > 0, 1 - upper, upper))


def quantile(p: npt.ArrayLike) -> Doubles:
    """Return the standard normal z with P(Z <= z) = p, with a relative error of about 1e-16.

    Parameters
    ----------
    p : float[...]
        In 0..1; 0 and 1 give the infinities.
    """
    x = np.asarray(p, dtype=np.float64)
    q = x - 0.5
    central = np.abs(q) <= 0.425
    inner = np.where(central, 0.180625 - q * q, 0.0)
    with np.errstate(divide="ignore"):
        r = np.sqrt(-np.log(np.minimum(x, 1 - x)))
    infinite = np.isinf(r)
    r = np.where(infinite, 6.0, r)
    outer = np.where(r <= 5, _ratio(_MIDDLE, np.minimum(r, 5) - 1.6), _ratio(_TAIL, np.maximum(r, 5) - 5))
    outer = np.where(infinite, np.inf, outer)
    return np.asarray(np.where(central, q * _ratio(_CENTRE, inner), np.where(q < 0, -outer, outer)))


def _ratio(polynomials: tuple[tuple[float, ...], tuple[float, ...]], x: Doubles) -> Doubles:
    """Return the ratio of two polynomials, highest power first."""
    values = []
    for coefficients in polynomials:
        value = np.full(x.shape, coefficients[0])
        for coefficient in coefficients[1:]:
            value *= x
            value += coefficient
        values.append(value)
    return np.asarray(values[0] / values[1])
