"""What every peer's script shares: the job read from standard input, updates, clocks, and the answer as one JSON line.

The job is an object: `tensors` (name and shape of each), `collaborators`, `rule`, `repetitions`, `persistence`. The
answer holds `cpu_s`, the process's seconds of processor time over all updates of a round, and `latency_s`, from the last
update received to the new model: medians over the repetitions, after a round that warms up. `latency_cpu_s` is the
processor time of that latency: what it would be on a machine with nothing else to do. A single repetition is not warmed up.
"""

import json
import platform
import resource
import statistics
import sys
import time

try:
    import numpy as np
except ImportError as error:
    print(json.dumps({"system": sys.argv[0], "skipped": f"not installed: {error}"}))
    sys.exit(0)


class Job:
    """One shape to measure."""

    def __init__(self):
        job = json.load(sys.stdin)
        self.names = [name for name, _ in job["tensors"]]
        self.shapes = [tuple(shape) for _, shape in job["tensors"]]
        self.collaborators = job["collaborators"]
        self.rule = job["rule"]
        self.repetitions = job["repetitions"]
        self.persistence = job["persistence"]
        sizes = [int(np.prod(shape, dtype=np.int64)) for shape in self.shapes]
        self.ends = np.cumsum(sizes)
        random = np.random.default_rng(1)
        self.noise = random.random(int(self.ends[-1]), dtype=np.float32) - np.float32(0.5)

    def update(self, n):
        """Tensors of update `n`: the same noise, begun at another place."""
        flat = np.roll(self.noise, -7919 * n)
        parts = np.split(flat, self.ends[:-1])
        return [part.reshape(shape) for part, shape in zip(parts, self.shapes)]

    @staticmethod
    def weight(n):
        """Samples of collaborator `n`."""
        return n + 400


class Clock:
    """Wall time and processor time of what runs between `start` and `stop`."""

    def __init__(self):
        self.wall = self.cpu = 0.0

    def __enter__(self):
        self._wall, self._cpu = time.perf_counter(), time.process_time()
        return self

    def __exit__(self, *_):
        self.cpu += time.process_time() - self._cpu
        self.wall += time.perf_counter() - self._wall


def measure(job, system, version, round_):
    """Runs `round_(all_updates, last_update)`, which runs its work under the two clocks, and prints the answer."""
    figures = []
    warm_up = int(job.repetitions > 1)
    for _ in range(job.repetitions + warm_up):
        everything, last = Clock(), Clock()
        round_(everything, last)
        figures.append((everything.cpu, last.wall, last.cpu))
    cpu, latency, latency_cpu = map(statistics.median, zip(*figures[warm_up:]))
    answer = {
        "system": system,
        "version": version,
        "python": platform.python_version(),
        "numpy": np.__version__,
        "rule": job.rule,
        "persistence": job.persistence,
        "cpu_s": cpu,
        "latency_s": latency,
        "latency_cpu_s": latency_cpu,
        "peak_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
    }
    print("\n" + json.dumps(answer), flush=True)


def skip(system, why):
    """Says why there is nothing to measure, and ends."""
    print("\n" + json.dumps({"system": system, "skipped": why}), flush=True)
    sys.exit(0)
