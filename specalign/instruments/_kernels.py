"""Loops over pixels, compiled by numba; every one treats a row alone, so that no row depends on its batch.

Arrays are contiguous float64 (bits uint32, flags bool).  Nothing here checks its arguments: the callers do.
"""

import math

import numpy as np
from numba import njit

MASKED, NONFINITE, NO_IVAR = np.uint32(1 << 26), np.uint32(1 << 24), np.uint32(1 << 25)
UNCOVERED, PARTIAL = np.uint32(1 << 27), np.uint32(1 << 28)
EDGE, NORMALIZATION = np.uint32(1 << 29), np.uint32(1 << 31)
NOTHING = np.uint32(0)

# An output pixel that good input covers by less than this share counts as not covered: wavelengths stored as
# float32 place pixel edges no better.
MIN_COVERAGE = 0.01


@njit(cache=True, nogil=True)
def find_overlaps(in_lower, in_upper, out_lower, out_upper, first, offset, weight):
    """Overlap of each output pixel with the input pixels; both kinds are sorted, so that one walk finds all."""
    n_in, count, i = in_lower.size, 0, 0
    for j in range(out_lower.size):
        lower, upper = out_lower[j], out_upper[j]
        while i < n_in and in_upper[i] <= lower:
            i += 1
        first[j] = i
        offset[j] = count
        k = i
        while k < n_in and in_lower[k] < upper:
            weight[count] = max(min(in_upper[k], upper) - max(in_lower[k], lower), 0.0)
            count += 1
            k += 1
    offset[out_lower.size] = count


@njit(cache=True, nogil=True)
def apply_overlaps(first, offset, weight, width, least, flux, variance, good, quality, out_flux, out_ivar, out_quality):
    """Mean of the good input pixels under each output pixel, weighted by overlap; its inverse variance; its bits.

    ``least`` is the share of the width that good input must cover.
    """
    for j in range(width.size):
        total, value, noise = 0.0, 0.0, 0.0
        used, every = NOTHING, NOTHING
        for c in range(offset[j], offset[j + 1]):
            i = first[j] + c - offset[j]
            w = weight[c] * good[i]
            total += w
            value += w * flux[i]
            noise += w * w * variance[i]
            every |= quality[i]
            if w > 0:
                used |= quality[i]
        if total > least * width[j]:
            out_flux[j] = value / total
            out_ivar[j] = total * total / noise
            out_quality[j] = used if total > (1 - MIN_COVERAGE) * width[j] else used | PARTIAL
        else:
            out_flux[j], out_ivar[j], out_quality[j] = 0.0, 0.0, every | UNCOVERED


@njit(cache=True, nogil=True)
def clean_row(flux, ivar, good, clean, variance, use):
    """Flux, variance and weight of a row, with zeros where a pixel is bad, whatever it holds."""
    for i in range(flux.size):
        use[i] = 1.0 if good[i] else 0.0
        clean[i] = flux[i] if good[i] else 0.0
        variance[i] = 1.0 / ivar[i] if good[i] else 0.0


@njit(cache=True, nogil=True)
def resample(flux, ivar, good, quality, in_lower, in_upper, out_lower, out_upper, factor, out_flux, out_ivar, out_bits):
    """Rows onto another grid; the overlaps are found again only where the Doppler factor changes."""
    n_rows, n_in = flux.shape
    n_out = out_lower.size
    first, offset = np.empty(n_out, np.int64), np.empty(n_out + 1, np.int64)
    weight = np.empty(n_in + n_out + 2, np.float64)
    width = out_upper - out_lower
    clean, variance, use = np.empty(n_in), np.empty(n_in), np.empty(n_in)
    for r in range(n_rows):
        if r == 0 or factor[r] != factor[r - 1]:
            find_overlaps(in_lower / factor[r], in_upper / factor[r], out_lower, out_upper, first, offset, weight)
        clean_row(flux[r], ivar[r], good[r], clean, variance, use)
        apply_overlaps(
            first,
            offset,
            weight,
            width,
            MIN_COVERAGE,
            clean,
            variance,
            use,
            quality[r],
            out_flux[r],
            out_ivar[r],
            out_bits[r],
        )


@njit(cache=True, nogil=True)
def flag(flux, ivar, mask, quality, bad_bits, zero_is_missing):
    """Add the reason why a pixel is bad, unless one is already known: then its content is not even looked at."""
    for r in range(flux.shape[0]):
        for i in range(flux.shape[1]):
            if quality[r, i] & bad_bits:
                continue
            if mask[r, i] or (zero_is_missing and flux[r, i] == 0.0):
                quality[r, i] |= MASKED
            elif not math.isfinite(flux[r, i]):
                quality[r, i] |= NONFINITE
            elif not (math.isfinite(ivar[r, i]) and ivar[r, i] > 0):
                quality[r, i] |= NO_IVAR


@njit(cache=True, nogil=True)
def flag_edges(quality, bad_bits, breaks, n_edge, min_run):
    """Flag the pixels beside an end of the axis, a break in it, or a run of at least min_run bad pixels.

    Pixels flagged before count as good, so that the rule can be applied twice without eating further.
    """
    n_pixels = quality.shape[1]
    outside = np.empty(n_pixels, np.bool_)
    for r in range(quality.shape[0]):
        start = 0
        for i in range(n_pixels + 1):
            if i < n_pixels and quality[r, i] & bad_bits & ~EDGE:
                continue
            for k in range(start, i):
                outside[k] = i - start >= min_run
            if i < n_pixels:
                outside[i] = False
            start = i + 1
        _flag_beside(quality[r], outside, breaks, n_edge)


@njit(cache=True, nogil=True)
def _flag_beside(quality, outside, breaks, n_edge):
    n_pixels = outside.size
    inside = 0
    for i in range(n_pixels):
        inside = 0 if outside[i] else (1 if breaks[i] else inside + 1)
        if 0 < inside <= n_edge:
            quality[i] |= EDGE
    inside = 0
    for i in range(n_pixels - 1, -1, -1):
        inside = 0 if outside[i] else (1 if breaks[i + 1] else inside + 1)
        if 0 < inside <= n_edge:
            quality[i] |= EDGE


@njit(cache=True, nogil=True)
def median_norm(flux, good, norm, quality):
    """One number a row: the median of its good flux."""
    for r in range(flux.shape[0]):
        level = np.median(flux[r][good[r]]) if good[r].any() else 0.0
        _fill_norm(level, norm[r], quality[r])


@njit(cache=True, nogil=True)
def pivot_norm(flux, good, pixel, norm, quality):
    """One number a row: its flux in one pixel."""
    for r in range(flux.shape[0]):
        _fill_norm(flux[r, pixel] if good[r, pixel] else 0.0, norm[r], quality[r])


@njit(cache=True, nogil=True)
def _fill_norm(level, norm, quality):
    if level > 0:
        norm[:] = level
    else:
        norm[:] = 1.0
        for j in range(quality.size):
            quality[j] |= NORMALIZATION


@njit(cache=True, nogil=True)
def continuum_norm(flux, ivar, good, segments, degree, max_gap, norm, quality):
    """Polynomials along the stretches of good pixels within each segment; see `continuum.fit_continuum`."""
    n_pixels = flux.shape[1]
    work, spare = np.empty(n_pixels), np.empty(n_pixels)
    for r in range(flux.shape[0]):
        norm[r] = 1.0
        for s in range(segments.shape[0]):
            start, stop = segments[s]
            while start < stop:
                begin, end = _stretch(good[r], start, stop, max_gap)
                if begin == end:
                    for j in range(start, stop):
                        quality[r, j] |= NORMALIZATION if good[r, j] else NOTHING
                    break
                _fit_stretch(flux[r], ivar[r], good[r], begin, end, degree, work, spare, norm[r], quality[r])
                start = end


@njit(cache=True, nogil=True)
def _stretch(good, start, stop, max_gap):
    """First and one past the last good pixel of the next stretch without more than max_gap bad pixels in a row."""
    begin = start
    while begin < stop and not good[begin]:
        begin += 1
    end = begin
    for j in range(begin, stop):
        if good[j]:
            end = j + 1
        elif j - end >= max_gap:
            break
    return begin, end


@njit(cache=True, nogil=True)
def _fit_stretch(flux, ivar, good, begin, end, degree, work, spare, norm, quality):
    n_good = 0
    for j in range(begin, end):
        n_good += good[j]
    level = _median(flux, good, begin, end, n_good, spare)
    solved = False
    use = work
    if level > 0:
        _weights(flux, ivar, good, begin, end, level, use)
        for step in range(3):
            solved = _fit(flux, use, begin, end, min(degree, n_good // 20), norm)
            if not solved or step == 2 or _clip(flux, ivar, use, norm, begin, end, spare) == 0:
                break
    for j in range(begin, end):
        if not solved or not norm[j] > 0.01 * level:
            norm[j] = 1.0
            quality[j] |= NORMALIZATION


@njit(cache=True, nogil=True)
def _median(values, use, begin, end, n_used, spare):
    """Median of about a thousand of the used values, evenly spread: enough for a scale."""
    every, n, seen = max(n_used // 1000, 1), 0, 0
    for j in range(begin, end):
        if use[j]:
            if seen % every == 0:
                spare[n] = values[j]
                n += 1
            seen += 1
    return np.median(spare[:n])


@njit(cache=True, nogil=True)
def _weights(flux, ivar, good, begin, end, level, out):
    # The floor makes all pixels weigh the same unless they are very noisy.  Without it deep lines, where photon
    # noise is small, would weigh more than the continuum, and more so the less other noise there is.
    floor = (0.3 * level) ** 2
    for j in range(begin, end):
        out[j] = 1.0 / (1.0 / ivar[j] + floor) if good[j] and flux[j] > -5.0 / math.sqrt(ivar[j]) else 0.0


@njit(cache=True, nogil=True)
def _clip(flux, ivar, weight, norm, begin, end, spare):
    """Give weight 0 to pixels far above the fit.  Those below are lines: to clip them would depend on S/N."""
    n, residual = 0, np.empty(end)
    for j in range(begin, end):
        residual[j] = abs(flux[j] - norm[j]) if weight[j] > 0 else 0.0
        n += weight[j] > 0
    scatter = 1.4826 * _median(residual, weight > 0, begin, end, n, spare)
    clipped = 0
    for j in range(begin, end):
        if weight[j] > 0 and flux[j] - norm[j] > 5.0 * math.sqrt(scatter**2 + 1.0 / ivar[j]):
            weight[j] = 0.0
            clipped += 1
    return clipped


@njit(cache=True, nogil=True)
def _fit(flux, weight, begin, end, degree, norm):
    """Weighted least squares of Chebyshev polynomials by the normal equations, evaluated into norm."""
    n = degree + 1
    scale = 2.0 / max(end - begin - 1, 1)
    moments, vector = np.zeros(2 * n - 1), np.zeros(n)
    _moments(flux[begin:end], weight[begin:end], scale, moments, vector)
    matrix = np.empty((n, n))
    for a in range(n):
        for b in range(a + 1):
            # The product of two polynomials is the mean of two others.
            matrix[a, b] = 0.5 * (moments[a + b] + moments[a - b])
    if not _solve(matrix, vector):
        return False
    _evaluate(vector, scale, norm[begin:end])
    return True


@njit(cache=True, nogil=True, fastmath={"reassoc", "contract", "nsz"})
def _moments(flux, weight, scale, moments, vector):
    """Sums of weight * T_k and of weight * flux * T_k; the order of summation is free, so that it vectorises."""
    size = flux.size
    x, before, now = np.empty(size), np.empty(size), np.empty(size)
    weighted = np.empty(size)
    for j in range(size):
        x[j] = j * scale - 1.0
        before[j], now[j] = x[j], 1.0
        weighted[j] = weight[j] * flux[j] if weight[j] > 0 else 0.0
    for k in range(moments.size):
        total, product = 0.0, 0.0
        for j in range(size):
            total += weight[j] * now[j]
            product += weighted[j] * now[j]
        moments[k] = total
        if k < vector.size:
            vector[k] = product
        for j in range(size):
            following = 2.0 * x[j] * now[j] - before[j]
            before[j] = now[j]
            now[j] = following


@njit(cache=True, nogil=True)
def _evaluate(coefficients, scale, out):
    """The series by Clenshaw's recurrence."""
    for j in range(out.size):
        x = j * scale - 1.0
        one, two = 0.0, 0.0
        for k in range(coefficients.size - 1, 0, -1):
            one, two = coefficients[k] + 2.0 * x * one - two, one
        out[j] = coefficients[0] + x * one - two


@njit(cache=True, nogil=True)
def _solve(matrix, vector):
    """Cholesky in place on the lower triangle; False where the matrix is singular."""
    n = vector.size
    for i in range(n):
        diagonal = matrix[i, i]
        for j in range(i):
            for k in range(j):
                matrix[i, j] -= matrix[i, k] * matrix[j, k]
            matrix[i, j] /= matrix[j, j]
            matrix[i, i] -= matrix[i, j] ** 2
        if not matrix[i, i] > 1e-13 * diagonal:
            return False
        matrix[i, i] = math.sqrt(matrix[i, i])
    for i in range(n):
        for k in range(i):
            vector[i] -= matrix[i, k] * vector[k]
        vector[i] /= matrix[i, i]
    for i in range(n - 1, -1, -1):
        for k in range(i + 1, n):
            vector[i] -= matrix[k, i] * vector[k]
        vector[i] /= matrix[i, i]
    return True


@njit(cache=True, nogil=True)
def finish(flux, ivar, norm, quality, bad_bits, scale_ivar, out_flux, out_ivar, out_mask):
    """Divide by the norm, and leave 0 in every bad pixel."""
    for r in range(flux.shape[0]):
        for j in range(flux.shape[1]):
            value = np.float32(flux[r, j] / norm[r, j])
            weight = np.float32(ivar[r, j] * norm[r, j] ** 2 if scale_ivar else ivar[r, j])
            bad = (quality[r, j] & bad_bits) != 0
            if not bad and not (math.isfinite(value) and math.isfinite(weight) and weight > 0):
                quality[r, j] |= NO_IVAR
                bad = True
            out_mask[r, j] = bad
            out_flux[r, j] = np.float32(0) if bad else value
            out_ivar[r, j] = np.float32(0) if bad else weight
