"""NVIDIA FLARE's own `InTimeAccumulateWeightedAggregator`: each contribution through `accept`, the last followed by `aggregate`.

With PyTorch installed, tensors are PyTorch's, which FLARE adds in place; without it, numpy's.
"""

import importlib.metadata
import logging

from peer import Job, measure, skip


def main():
    job = Job()
    try:
        from nvflare.apis.dxo import DXO, DataKind, MetaKey
        from nvflare.apis.event_type import EventType
        from nvflare.apis.fl_constant import ReservedKey
        from nvflare.apis.fl_context import FLContext
        from nvflare.app_common.aggregators.intime_accumulate_model_aggregator import (
            InTimeAccumulateWeightedAggregator,
        )
        from nvflare.app_common.app_constant import AppConstants
    except ImportError as error:
        skip("NVIDIA FLARE", f"not installed: {error}")
    try:
        import torch

        torch.set_num_threads(1)
        kind, tensor = "torch", torch.from_numpy
    except ImportError:
        kind, tensor = "numpy", lambda array: array
    if job.rule != "weighted_mean":
        skip("NVIDIA FLARE", f"no {job.rule}")
    logging.disable(logging.CRITICAL)

    context = FLContext()
    aggregator = InTimeAccumulateWeightedAggregator(expected_data_kind=DataKind.WEIGHTS)
    aggregator.handle_event(EventType.START_RUN, context)
    rounds = iter(range(1_000_000))

    def contribution(n, number):
        data = {name: tensor(value.copy()) for name, value in zip(job.names, job.update(n))}
        meta = {MetaKey.NUM_STEPS_CURRENT_ROUND: job.weight(n)}
        shareable = DXO(DataKind.WEIGHTS, data=data, meta=meta).to_shareable()
        shareable.set_peer_props({ReservedKey.IDENTITY_NAME: f"site-{n}"})
        shareable.add_cookie(AppConstants.CONTRIBUTION_ROUND, number)
        return shareable

    def round_(everything, last):
        number = next(rounds)
        context.set_prop(AppConstants.CURRENT_ROUND, number, private=True, sticky=True)
        for n in range(job.collaborators - 1):
            update = contribution(n, number)
            with everything:
                accepted = aggregator.accept(update, context)
            assert accepted, "an update was not accepted"
        update = contribution(job.collaborators - 1, number)
        with everything, last:
            accepted = aggregator.accept(update, context)
            model = aggregator.aggregate(context)
        assert accepted and len(model["DXO"]["data"]) == len(job.names), "the round made a model"

    measure(job, f"NVIDIA FLARE ({kind})", importlib.metadata.version("nvflare"), round_)


main()
