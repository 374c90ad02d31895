"""Values that every language makes with the same bits, from a name and an index.

A tensor's seed is FNV-1a (32 bits) of its name. Element i is made of seed + i * 0x9e3779b9 by the mixer lowbias32. The top
24 bits are an integer k from -2^23 to 2^23 - 1, and the value is f32(k / 2^23 * a + c): one multiplication and one
addition in f64, then one rounding.
"""

import math

import numpy

MASK = 0xFFFFFFFF


def integers(name, count):
    """The integers k of a tensor's elements."""
    seed = 0x811C9DC5
    for byte in name.encode():
        seed = ((seed ^ byte) * 0x01000193) & MASK
    x = (seed + numpy.arange(count, dtype=numpy.uint64) * 0x9E3779B9) & MASK
    x ^= x >> 16
    x = (x * 0x7FEB352D) & MASK
    x ^= x >> 15
    x = (x * 0x846CA68B) & MASK
    x ^= x >> 16
    return (x >> 8).astype(numpy.int64) - (1 << 23)


def values(name, shape, a=1.0, c=0.0):
    """A tensor's elements as f32."""
    k = integers(name, math.prod(shape))
    return (k.astype(numpy.float64) * 2.0**-23 * a + c).astype(numpy.float32).reshape(shape)


def scale(name, shape, transposed):
    """a and c for a tensor of a network."""
    part = name.rsplit(".", 1)[-1]
    if part == "running_mean" or part == "bias":
        return 0.125, 0.0
    if part == "running_var":
        return 0.5, 1.0
    if len(shape) == 1:
        return 0.25, 1.0
    terms = shape[0] if transposed else math.prod(shape[1:])
    return math.sqrt(6.0 / terms), 0.0
