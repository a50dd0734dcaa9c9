"""Writes ``polynomials.h``: run ``python fit_polynomials.py > polynomials.h`` (needs mpmath; never at build).

Each polynomial interpolates its function at Chebyshev nodes in 60-digit arithmetic, which is within a
small factor of the best polynomial of that degree, and is then rounded to double. The error printed in
the header is that of the rounded coefficients, in exact arithmetic, relative to the function.
"""

from collections.abc import Callable

import mpmath as mp

mp.mp.dps = 60
SQRT2 = mp.sqrt(2)
CENTRE = (1 + SQRT2) / 2
LN2 = mp.log(2)


def acos_over_sine(t: mp.mpf) -> mp.mpf:
    """acos(c) / sqrt(1 - c) as a function of t = sqrt(1 + c) - CENTRE: analytic, the root is taken out."""
    c = (t + CENTRE) ** 2 - 1
    return mp.acos(c) / mp.sqrt(1 - c) if c < 1 else SQRT2


def asin_remainder(z: mp.mpf) -> mp.mpf:
    """(asin(y) - y) / y^3 as a function of z = y^2."""
    y = mp.sqrt(z)
    return (mp.asin(y) - y) / y**3 if z > mp.mpf(10) ** -30 else mp.mpf(1) / 6


def interpolate(f: Callable[[mp.mpf], mp.mpf], low: mp.mpf, high: mp.mpf, degree: int) -> list[float]:
    nodes = [
        (low + high) / 2 + (high - low) / 2 * mp.cos((2 * i + 1) * mp.pi / (2 * degree + 2))
        for i in range(degree + 1)
    ]
    vandermonde = mp.matrix(degree + 1, degree + 1)
    for i, x in enumerate(nodes):
        for j in range(degree + 1):
            vandermonde[i, j] = x**j
    solution = mp.lu_solve(vandermonde, mp.matrix([f(x) for x in nodes]))
    return [float(c) for c in solution]


def largest_error(
    f: Callable[[mp.mpf], mp.mpf], low: mp.mpf, high: mp.mpf, coefficients: list[float]
) -> mp.mpf:
    points = [low + (high - low) * i / 1000 for i in range(1001)]
    return max(abs(mp.polyval(coefficients[::-1], x) / f(x) - 1) for x in points)


def main() -> None:
    half = LN2 / 2 * mp.mpf("1.001")
    fits = [
        ("acos", acos_over_sine, 1 - CENTRE, SQRT2 - CENTRE, (10, 4), "acos(c) / sqrt(1 - c)"),
        ("asin", asin_remainder, mp.mpf(0), mp.mpf("0.25"), (11, 5), "(asin(y) - y) / y^3 in y^2"),
        ("exp", mp.exp, -half, half, (11, 6), "exp on half a power of two"),
    ]
    print("// Written by fit_polynomials.py, which says where these come from: do not edit.\n#pragma once\n")
    print(f"static constexpr double acos_centre = {float(CENTRE)!r};\n")
    for name, f, low, high, degrees, what in fits:
        for precision, degree in zip(("double", "float"), degrees, strict=True):
            coefficients = interpolate(f, low, high, degree)
            error = mp.nstr(largest_error(f, low, high, coefficients), 2)
            print(f"// {what}: largest relative error {error}")
            print(f"NK_CONSTANTS {precision} {name}_{precision}[] = {{")
            print("".join(f"    {c!r},\n" for c in coefficients) + "};\n")


if __name__ == "__main__":
    main()
