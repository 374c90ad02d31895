"""numpy alone, the least that a Python aggregator can cost: a weighted mean in place, numpy.median, a trimmed mean by sorting."""

from peer import Job, measure, np, skip


def mean_in_place(job):
    scratch = [np.empty(shape, np.float32) for shape in job.shapes]

    def round_(everything, last):
        sums = [np.zeros(shape, np.float32) for shape in job.shapes]
        total = sum(job.weight(n) for n in range(job.collaborators))

        def add(n, update):
            for result, value, product in zip(sums, update, scratch):
                np.multiply(value, np.float32(job.weight(n)), out=product)
                np.add(result, product, out=result)

        for n in range(job.collaborators - 1):
            update = job.update(n)
            with everything:
                add(n, update)
        update = job.update(job.collaborators - 1)
        with everything, last:
            add(job.collaborators - 1, update)
            for result in sums:
                np.divide(result, np.float32(total), out=result)

    return round_


def by_element(job, combine):
    updates = [job.update(n) for n in range(job.collaborators)]
    layers = [np.stack(layer) for layer in zip(*updates)]
    del updates

    def round_(everything, last):
        with everything, last:
            for layer in layers:
                combine(layer)

    return round_


def trimmed_mean(layer):
    cut = int(0.2 * len(layer))
    return np.sort(layer, axis=0)[cut : len(layer) - cut].mean(axis=0)


def main():
    job = Job()
    if job.rule == "weighted_mean":
        round_ = mean_in_place(job)
    elif job.rule == "median":
        round_ = by_element(job, lambda layer: np.median(layer, axis=0))
    elif job.rule == "trimmed_mean":
        round_ = by_element(job, trimmed_mean)
    else:
        skip("numpy", f"no {job.rule}")
    measure(job, "numpy", np.__version__, round_)


main()
