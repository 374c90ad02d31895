"""Flower's own strategies over the clients' messages, both of its interfaces: `Strategy.aggregate_fit` (FedAvg in place, as it is by
default) and the message-based `Strategy.aggregate_train`.
"""

import importlib.metadata
import logging

from peer import Job, measure, skip


def with_parameters(job, hostile):
    """The round of the first interface, or None."""
    from flwr.common import Code, FitRes, Status, ndarrays_to_parameters
    from flwr.server.strategy import FedAvg, FedMedian, Krum

    strategies = {
        "weighted_mean": FedAvg,
        "median": FedMedian,
        "krum": lambda: Krum(num_malicious_clients=hostile, num_clients_to_keep=0),
    }
    if job.rule not in strategies:
        return None
    strategy = strategies[job.rule]()
    ok = Status(Code.OK, "")
    results = [
        (None, FitRes(ok, ndarrays_to_parameters(job.update(n)), job.weight(n), {}))
        for n in range(job.collaborators)
    ]

    def round_(everything, last):
        with everything, last:
            parameters, _ = strategy.aggregate_fit(1, results, [])
        assert len(parameters.tensors) == len(job.names), "the round made a model"

    return round_


def with_messages(job, hostile):
    """The round of the second interface, or None."""
    from flwr.app import Array, ArrayRecord, Message, MetricRecord, RecordDict
    from flwr.serverapp.strategy import FedAvg, FedMedian, Krum

    try:
        # Later versions want to know which process makes a message.
        from flwr.supercore.task_identity import TaskIdentity

        TaskIdentity.run_id, TaskIdentity.node_id, TaskIdentity.task_id = 1, 1, 1
    except ImportError:
        pass
    strategies = {
        "weighted_mean": FedAvg,
        "median": FedMedian,
        "krum": lambda: Krum(num_malicious_nodes=hostile),
    }
    if job.rule not in strategies:
        return None
    strategy = strategies[job.rule]()

    def reply(n):
        arrays = {name: Array(value) for name, value in zip(job.names, job.update(n))}
        metrics = MetricRecord({"num-examples": job.weight(n)})
        content = RecordDict({"arrays": ArrayRecord(arrays), "metrics": metrics})
        return Message(content, dst_node_id=n + 1, message_type="train")

    replies = [reply(n) for n in range(job.collaborators)]

    def round_(everything, last):
        with everything, last:
            arrays, _ = strategy.aggregate_train(1, replies)
        assert len(arrays) == len(job.names), "the round made a model"

    return round_


def main():
    job = Job()
    try:
        version = importlib.metadata.version("flwr")
        import flwr.server.strategy  # noqa: F401
    except ImportError as error:
        skip("Flower", f"not installed: {error}")
    logging.getLogger("flwr").setLevel(logging.CRITICAL)
    hostile = min(job.collaborators // 4, max(0, job.collaborators - 3) // 2)
    rounds = []
    for system, interface in [("Flower", with_parameters), ("Flower, messages", with_messages)]:
        try:
            round_ = interface(job, hostile)
        except ImportError:
            continue
        if round_ is not None:
            rounds.append(system)
            measure(job, system, version, round_)
            del round_
    if not rounds:
        skip("Flower", f"no {job.rule}")


main()
