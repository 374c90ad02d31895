"""Answers of every aggregation rule, from the formulas of their papers, in NumPy and float64.

Written apart from the Rust code and sharing none of its ideas: no sorting network, no dot products of deltas, no integer
weights. `python reference.py > values.txt` writes what `tests/rules.rs` compares with. Values are f32 bit patterns.
"""

import numpy as np

LEN, A, KEEP = 24, slice(0, 10), slice(10, 14)
COMBINED = np.r_[0:10, 14:24]
TENSORS = [np.arange(0, 10), np.arange(14, 24)]


def words(values):
    return " ".join(f"{w:08x}" for w in np.asarray(values, dtype=np.float32).view(np.uint32))


def show(key, values):
    print(key, words(values))


def case(n, rng):
    """Updates near a base, a few far from it; columns with ties and zeros; weights from 1 to 1000."""
    base = rng.normal(size=LEN).astype(np.float32)
    updates = (base + 0.1 * rng.normal(size=(n, LEN))).astype(np.float32)
    hostile = (n - 3) // 4
    updates[rng.permutation(n)[:hostile]] += (5 * rng.normal(size=(hostile, LEN))).astype(np.float32)
    updates[:, 2:5] = np.round(updates[:, 2:5] * 2) / 2
    updates[:, 20] = np.where(np.arange(n) % 2 == 0, np.float32(0.0), np.float32(-0.0))
    updates[:, 21] = rng.choice(np.array([-1, 1], dtype=np.float32), size=n)
    updates[:, 22] *= np.float32(1e-30)
    updates[:, 23] *= np.float32(3)
    # One outweighs all others, all are equal (halves are exact), or anything between.
    weights = rng.integers(1, 1001, size=n)
    if n == 4:
        weights = np.array([1, 24, 1000, 28])
    if n == 8:
        weights = np.full(n, 5)
    weights[0] = weights[0] if n == 8 else 1
    weights[n - 2] = weights[n - 2] if n == 8 else 1000
    return base, updates, weights


def kept(answer, base):
    """A tensor held out is the base's."""
    answer = np.array(answer, dtype=np.float64)
    answer[KEEP] = base[KEEP]
    return answer


def clipped_mean(x, w, base, norm):
    shares = []
    for update in x:
        delta = (update - base)[COMBINED]
        shares.append(min(1.0, norm / np.sqrt(np.sum(delta**2))))
    moved = sum(wi * ci * (xi - base) for wi, ci, xi in zip(w, shares, x))
    return base + moved / w.sum()


def weighted_median(x, w):
    answer = []
    for column in x.T:
        order = np.argsort(column, kind="stable")
        values, sums = column[order], np.cumsum(w[order])
        index = np.flatnonzero(2 * sums >= w.sum())[0]
        tied = 2 * sums[index] == w.sum()
        answer.append((values[index] + values[index + 1]) / 2 if tied else values[index])
    return np.array(answer)


def trimmed_mean(x, share):
    cut = int(np.floor(share * len(x)))
    return np.sort(x, axis=0)[cut : len(x) - cut].mean(axis=0)


def krum_scores(x, among, f):
    """Sum of squared distances to the n - f - 2 nearest others; at least one."""
    scores = {}
    for i in among:
        distances = sorted(np.sum((x[i] - x[j])[COMBINED] ** 2) for j in among if j != i)
        scores[i] = sum(distances[: max(len(among) - f - 2, 1)])
    return scores


def multi_krum(x, f, keep):
    scores = krum_scores(x, range(len(x)), f)
    chosen = sorted(scores, key=lambda i: (scores[i], i))[:keep]
    return x[chosen].mean(axis=0)


def bulyan(x, f):
    left, chosen = list(range(len(x))), []
    while len(chosen) < len(x) - 2 * f:
        scores = krum_scores(x, left, f)
        best = min(left, key=lambda i: (scores[i], i))
        left.remove(best)
        chosen.append(best)
    keep, answer = len(chosen) - 2 * f, []
    for column in x[chosen].T:
        nearest = sorted(column, key=lambda v: (abs(v - np.median(column)), v))[:keep]
        answer.append(np.mean(nearest))
    return np.array(answer)


def geometric_median(x, w, over, iterations=20, smoothing=1e-5):
    """RFA's Algorithm 2 on the points themselves."""
    points, alphas = x[:, over], w / w.sum()
    distance = lambda v: np.sqrt(np.sum((points - v) ** 2, axis=1))
    median = alphas @ points
    objective = alphas @ distance(median)
    for _ in range(iterations):
        pull = alphas / np.maximum(smoothing, distance(median))
        median = pull @ points / pull.sum()
        before, objective = objective, alphas @ distance(median)
        if abs(before - objective) < 1e-6 * objective:
            break
    return median


def rules(n, rng):
    base32, updates32, weights = case(n, rng)
    base, x, w = base32.astype(np.float64), updates32.astype(np.float64), weights.astype(np.float64)
    print(f"case {n}")
    show("base", base32)
    for weight, update in zip(weights, updates32):
        show(f"update {weight}", update)
    answer = lambda key, values: show(key, kept(values, base))
    answer("weighted_mean", w @ x / w.sum())
    answer("mean", x.mean(axis=0))
    for norm in [1.6, 5.0]:
        answer(f"clipped_mean {norm}", clipped_mean(x, w, base, norm))
    answer("median", np.median(x, axis=0))
    answer("weighted_median", weighted_median(x, weights))
    for share in [0.1, 0.25, 0.4]:
        answer(f"trimmed_mean {share}", trimmed_mean(x, share))
    for f in sorted({0, (n - 3) // 4, (n - 3) // 2}):
        answer(f"krum {f}", multi_krum(x, f, 1))
        answer(f"multi_krum {f} 0", multi_krum(x, f, n - f))
        answer(f"multi_krum {f} 2", multi_krum(x, f, 2))
        if n >= 4 * f + 3:
            answer(f"bulyan {f}", bulyan(x, f))
    model = base.copy()
    model[COMBINED] = geometric_median(x, w, COMBINED)
    answer("geometric_median model", model)
    tensors = base.copy()
    for tensor in TENSORS:
        tensors[tensor] = geometric_median(x, w, tensor)
    answer("geometric_median tensor", tensors)


# Server steps: elements 0..8 are a weight, 8..11 running statistics, 11..15 held out, 15..19 optimiser state, 19..24 a
# bias.
STEPPED = np.r_[0:8, 19:24]
HELD = slice(11, 15)


def fedavgm(x, delta, state, lr=0.9, beta=0.8):
    v = beta * state[0] + delta
    return x + lr * v, [v]


def adaptive(second):
    def step(x, delta, state, lr=0.05, beta1=0.9, beta2=0.95, tau=1e-2):
        m = beta1 * state[0] + (1 - beta1) * delta
        v = second(state[1], delta**2, beta2)
        return x + lr * m / (np.sqrt(v) + tau), [m, v]

    return step


STEPS = {
    "fedavgm": (fedavgm, 1),
    "fedadagrad": (adaptive(lambda v, d2, b: v + d2), 2),
    "fedadam": (adaptive(lambda v, d2, b: b * v + (1 - b) * d2), 2),
    "fedyogi": (adaptive(lambda v, d2, b: v - (1 - b) * d2 * np.sign(v - d2)), 2),
    "smoothing": (lambda x, delta, state: (x + (1 - 0.7) * delta, []), 0),
}


def server(name, rng):
    step, kinds = STEPS[name]
    x = rng.normal(size=LEN).astype(np.float32)
    # tau² where there are second moments.
    state = [np.zeros(len(STEPPED), np.float32), np.full(len(STEPPED), 1e-4, np.float32)][:kinds]
    print(f"server {name}")
    show("base", x)
    for _ in range(3):
        answer = (x + 0.3 * rng.normal(size=LEN)).astype(np.float32)
        answer[3] = x[3]
        answer[HELD] = x[HELD]
        show("answer", answer)
        base = x.astype(np.float64)[STEPPED]
        delta = answer.astype(np.float64)[STEPPED] - base
        moved, state = step(base, delta, [s.astype(np.float64) for s in state])
        state = [s.astype(np.float32) for s in state]
        x = answer.copy()
        x[STEPPED] = moved.astype(np.float32)
        show("next", x)
        show("state", np.concatenate(state) if state else [])


if __name__ == "__main__":
    rng = np.random.default_rng(20240607)
    for n in [3, 4, 7, 8, 32, 33]:
        rules(n, rng)
    for name in STEPS:
        server(name, rng)
