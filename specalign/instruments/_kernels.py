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
def find_overlaps(in_lower, in_upper, out_lower, out_upper, factor, first, offset, weight):
    """Overlap of each output pixel with the input pixels, whose edges are divided by the Doppler factor."""
    n_in, count, i = in_lower.size, 0, 0
    for j in range(out_lower.size):
        lower, upper = out_lower[j], out_upper[j]
        while i < n_in and in_upper[i] / factor <= lower:
            i += 1
        first[j] = i
        offset[j] = count
        k = i
        while k < n_in and in_lower[k] / factor < upper:
            weight[count] = max(min(in_upper[k] / factor, upper) - max(in_lower[k] / factor, lower), 0.0)
            count += 1
            k += 1
    offset[out_lower.size] = count


@njit(cache=True, nogil=True)
def apply_overlaps(first, offset, weight, width, flux, variance, good, quality, out_flux, out_ivar, out_quality):
    """Mean of the good input pixels under each output pixel, weighted by overlap; its inverse variance; its bits."""
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
        if total > MIN_COVERAGE * width[j]:
            out_flux[j] = value / total
            out_ivar[j] = total * total / noise
            out_quality[j] = used if total > (1 - MIN_COVERAGE) * width[j] else used | PARTIAL
        else:
            out_flux[j], out_ivar[j], out_quality[j] = 0.0, 0.0, every | UNCOVERED


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
            find_overlaps(in_lower, in_upper, out_lower, out_upper, factor[r], first, offset, weight)
        for i in range(n_in):
            use[i] = 1.0 if good[r, i] else 0.0
            clean[i] = flux[r, i] if good[r, i] else 0.0
            variance[i] = 1.0 / ivar[r, i] if good[r, i] else 0.0
        apply_overlaps(
            first, offset, weight, width, clean, variance, use, quality[r], out_flux[r], out_ivar[r], out_bits[r]
        )


@njit(cache=True, nogil=True)
def flag(flux, ivar, mask, quality, bad_bits):
    """Add the reason why a pixel is bad, unless one is already known: then its content is not even looked at."""
    for r in range(flux.shape[0]):
        for i in range(flux.shape[1]):
            if quality[r, i] & bad_bits:
                continue
            if mask[r, i]:
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
    n_good = _gather(flux, good, begin, end, spare)
    level = np.median(spare[:n_good])
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
def _gather(values, good, begin, end, out):
    n = 0
    for j in range(begin, end):
        if good[j]:
            out[n] = values[j]
            n += 1
    return n


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
    n = 0
    for j in range(begin, end):
        if weight[j] > 0:
            spare[n] = abs(flux[j] - norm[j])
            n += 1
    scatter = 1.4826 * np.median(spare[:n])
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
    matrix, vector, basis = np.zeros((n, n)), np.zeros(n), np.empty(n)
    scale = 2.0 / max(end - begin - 1, 1)
    for j in range(begin, end):
        w = weight[j]
        if w > 0:
            _chebyshev((j - begin) * scale - 1.0, basis)
            for a in range(n):
                wb = w * basis[a]
                vector[a] += wb * flux[j]
                for b in range(a + 1):
                    matrix[a, b] += wb * basis[b]
    if not _solve(matrix, vector):
        return False
    for j in range(begin, end):
        _chebyshev((j - begin) * scale - 1.0, basis)
        total = 0.0
        for a in range(n):
            total += basis[a] * vector[a]
        norm[j] = total
    return True


@njit(cache=True, nogil=True)
def _chebyshev(x, basis):
    basis[0] = 1.0
    if basis.size > 1:
        basis[1] = x
    for k in range(2, basis.size):
        basis[k] = 2.0 * x * basis[k - 1] - basis[k - 2]


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
