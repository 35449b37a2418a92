"""Loops of `specalign.instruments.velocity`, compiled by numba; float64, every row alone.

A template is a cubic B-spline on a grid equally spaced in log wavelength; a shift is an offset in that grid.  Nothing
here checks its arguments: the caller does.
"""

import math

import numpy as np
from numba import njit

MAX_ROUNDS = 12
SMALLEST_STEP, LARGEST_STEP = 0.02, 1.0  # pixels, within which a parabola is fitted
REACH = 4.0  # pixels that the fit may walk from the coarse peak
FEWEST_PIXELS = 20


@njit(cache=True, nogil=True)
def spline_value(coefficient, position):
    """A cubic B-spline at a position (in pixels), which lies at least two pixels inside."""
    i = math.floor(position)
    f = position - i
    g = 1.0 - f
    low = g * g * g / 6.0
    high = f * f * f / 6.0
    left = 2.0 / 3.0 - 0.5 * f * f * (2.0 - f)
    right = 1.0 - low - high - left
    return low * coefficient[i - 1] + left * coefficient[i] + right * coefficient[i + 1] + high * coefficient[i + 2]


@njit(cache=True, nogil=True)
def usable(ivar, position, covered, lowest, highest, use):
    """Pixels that the template covers at every shift from lowest to highest, so that all chi^2 are of one set.

    ``covered`` counts the covered pixels of the template before each.
    """
    for i in range(position.size):
        first = math.floor(position[i] - highest) - 1
        last = math.floor(position[i] - lowest) + 3
        use[i] = ivar[i] > 0 and first >= 0 and last < covered.size and covered[last] - covered[first] == last - first


@njit(cache=True, nogil=True)
def fit_scale(flux, ivar, position, coefficient, shift, use):
    """chi^2 of scale times shifted template plus offset, that of the offset alone, and the correlation coefficient."""
    sw, sd, st, sdd, stt, sdt = 0.0, 0.0, 0.0, 0.0, 0.0, 0.0
    for i in range(flux.size):
        if use[i]:
            w, d = ivar[i], flux[i]
            t = spline_value(coefficient, position[i] - shift)
            sw += w
            sd += w * d
            st += w * t
            sdd += w * d * d
            stt += w * t * t
            sdt += w * d * t
    sdd, stt, sdt = sdd - sd * sd / sw, stt - st * st / sw, sdt - sd * st / sw
    if not (stt > 0 and sdd > 0 and sdt > 0):
        return sdd, sdd, 0.0
    return sdd - sdt * sdt / stt, sdd, sdt / math.sqrt(stt * sdd)


@njit(cache=True, nogil=True)
def refine_row(flux, ivar, position, coefficient, start, pixel, use, out):
    """Newton steps on the parabola through chi^2 at three shifts; the last one spans about delta chi^2 = 1.

    ``out`` becomes shift, its error, peak height, chi^2, and that of the offset alone; NaN where there is no minimum.
    """
    shift, step, error = start, LARGEST_STEP * pixel, 0.0
    for _ in range(MAX_ROUNDS):
        below = fit_scale(flux, ivar, position, coefficient, shift - step, use)[0]
        middle = fit_scale(flux, ivar, position, coefficient, shift, use)[0]
        above = fit_scale(flux, ivar, position, coefficient, shift + step, use)[0]
        curvature = (below + above - 2 * middle) / (step * step)
        if not curvature > 0:
            return
        move = min(max(0.5 * (below - above) / (curvature * step), -step), step)
        shift += move
        if abs(shift - start) > (REACH - LARGEST_STEP) * pixel:
            return
        error = math.sqrt(2.0 / curvature)
        wanted = min(max(error, SMALLEST_STEP * pixel), LARGEST_STEP * pixel)
        done = abs(move) < 1e-3 * error and abs(wanted - step) < 0.05 * step
        step = wanted
        if done:
            break
    chi2, nothing, height = fit_scale(flux, ivar, position, coefficient, shift, use)
    out[0], out[1], out[2], out[3], out[4] = shift, error, height, chi2, nothing


@njit(cache=True, nogil=True)
def refine(flux, ivar, position, coefficients, covered, template, start, pixel, out):
    """`refine_row` for rows with their templates and coarse shifts; NaN starts are left.

    ``pixel`` is a pixel of the spectrum in steps of the template; ``out`` (N, 6) has the number of pixels besides.
    """
    use = np.empty(position.size, np.bool_)
    for r in range(flux.shape[0]):
        out[r] = np.nan
        out[r, 5] = 0
        if math.isnan(start[r]):
            continue
        reach = REACH * pixel
        usable(ivar[r], position, covered, start[r] - reach, start[r] + reach, use)
        out[r, 5] = use.sum()
        if out[r, 5] >= FEWEST_PIXELS:
            refine_row(flux[r], ivar[r], position, coefficients[template[r]], start[r], pixel, use, out[r])


@njit(cache=True, nogil=True)
def drop_outliers(flux, ivar, position, coefficient, shift, limit):
    """Set ivar to 0 where a pixel is farther from the fit than limit times the usual distance; how many there were.

    The usual distance is the median's equivalent of a standard deviation, or the noise where that is larger.
    """
    use = np.empty(position.size, np.bool_)
    sw, sd, st, stt, sdt = 0.0, 0.0, 0.0, 0.0, 0.0
    for i in range(flux.size):
        place = position[i] - shift
        use[i] = ivar[i] > 0 and place >= 1 and place < coefficient.size - 3
        if use[i]:
            w, d, t = ivar[i], flux[i], spline_value(coefficient, place)
            sw += w
            sd += w * d
            st += w * t
            stt += w * t * t
            sdt += w * d * t
    scale = (sdt - sd * st / sw) / (stt - st * st / sw)
    offset = (sd - scale * st) / sw
    distance = np.zeros(flux.size)
    for i in range(flux.size):
        if use[i]:
            model = offset + scale * spline_value(coefficient, position[i] - shift)
            distance[i] = abs(flux[i] - model) * math.sqrt(ivar[i])
    farthest = limit * max(1.0, 1.4826 * np.median(distance[use]))
    count = 0
    for i in range(flux.size):
        if distance[i] > farthest:
            ivar[i] = 0.0
            count += 1
    return count


@njit(cache=True, nogil=True)
def find_peak(correlation):
    """Place and height of the highest value (T, S) and the highest local maximum of its row beyond its own hump."""
    best, at_row, at = -1.0, -1, -1
    for j in range(correlation.shape[0]):
        for s in range(correlation.shape[1]):
            if correlation[j, s] > best:
                best, at_row, at = correlation[j, s], j, s
    row = correlation[at_row]
    low, high = at, at
    while low > 0 and row[low - 1] <= row[low]:
        low -= 1
    while high < row.size - 1 and row[high + 1] <= row[high]:
        high += 1
    second = 0.0
    for s in range(row.size):
        if s < low or s > high:
            second = max(second, row[s])
    return at_row, at, best, second


@njit(cache=True, nogil=True)
def correlation_of_sums(data, cross, template, square, weight, least, moment):
    """Sums of products to weighted correlation coefficients (T, S), in place of ``cross``; 0 where there are none.

    With deviations d and t and weights w, ``cross`` is sum w d t, ``template`` sum w t, ``square`` sum w t^2 (T, S);
    ``weight``, ``data`` and ``moment`` (S,) are sum w, sum w d and sum w d^2 of the covered pixels.
    """
    for j in range(cross.shape[0]):
        for s in range(cross.shape[1]):
            value = np.float32(0.0)
            if weight[s] > least:
                t = square[j, s] - template[j, s] * template[j, s] / weight[s]
                d = moment[s] - data[s] * data[s] / weight[s]
                if t > np.float32(1e-4) * square[j, s] and d > np.float32(1e-4) * moment[s]:
                    value = (cross[j, s] - data[s] * template[j, s] / weight[s]) / math.sqrt(t * d)
            cross[j, s] = value
