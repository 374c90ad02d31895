"""OpenFL's own Aggregator: each collaborator's tensors through `send_local_task_results`, the last of which ends the round. As a
plan has it by default, updates are deltas and the tensor database keeps two rounds.

Without persistence the round's model stays in the tensor database, from which collaborators are served: no database file, no
model file. With persistence both are written, as a plan has it by default.
"""

import importlib.metadata
import logging
import os
import tempfile

from peer import Job, measure, skip

TASK = "train"


def main():
    job = Job()
    try:
        from openfl.component.aggregator.aggregator import Aggregator
        from openfl.component.assigner.static_grouped_assigner import StaticGroupedAssigner
        from openfl.interface.aggregation_functions import Median, WeightedAverage
        from openfl.pipelines import NoCompressionPipeline, TensorCodec
        from openfl.protocols import utils
        from openfl.utilities import TensorKey
    except ImportError as error:
        skip("OpenFL", f"not installed: {error}")
    rules = {"weighted_mean": WeightedAverage, "median": Median}
    if job.rule not in rules:
        skip("OpenFL", f"no {job.rule}")
    logging.disable(logging.INFO)

    names = [f"collaborator{n}" for n in range(job.collaborators)]
    rounds = job.repetitions + 2
    assigner = StaticGroupedAssigner(
        task_groups=[{"name": "learning", "tasks": [TASK], "collaborators": names}],
        tasks={TASK: {"aggregation_type": rules[job.rule]()}},
        authorized_cols=names,
        rounds_to_train=rounds,
    )
    codec = TensorCodec(NoCompressionPipeline())

    def model(aggregator, round_number):
        """Tensors of the model that a round starts from."""
        keys = [TensorKey(name, "aggregator", round_number, False, ("model",)) for name in job.names]
        return [aggregator.tensor_db.get_tensor_from_cache(key) for key in keys]

    def named_tensors(n, round_number, base):
        """An update as it arrives: what a collaborator's task gives to the codec, in OpenFL's message."""
        tensors = []
        for name, value, before in zip(job.names, job.update(n), base):
            key = TensorKey(name, names[n], round_number, False, ("trained",))
            key, delta = codec.generate_delta(key, value, before)
            key, data, metadata = codec.compress(key, delta)
            tensors.append(utils.construct_named_tensor(key, data, metadata, lossless=False))
        return tensors

    with tempfile.TemporaryDirectory(dir=os.environ.get("FL_PEER_SCRATCH")) as folder:
        aggregator = Aggregator(
            aggregator_uuid="aggregator",
            federation_uuid="bench",
            authorized_cols=names,
            init_state_path=None,
            best_state_path=os.path.join(folder, "best.pbuf"),
            last_state_path=os.path.join(folder, "last.pbuf"),
            assigner=assigner,
            use_delta_updates=True,
            db_store_rounds=2,
            rounds_to_train=rounds,
            initial_tensor_dict=dict(zip(job.names, job.update(1_000_003))),
            persist_checkpoint=job.persistence,
            persistent_db_path=os.path.join(folder, "tensor.db"),
        )
        if job.persistence:
            # A validation task has set it by the end of a round, and the database does not take None.
            aggregator.best_model_score = 0.0
        else:
            aggregator._save_model = lambda *_: None

        def send(n, round_number, tensors):
            aggregator.send_local_task_results(names[n], round_number, TASK, job.weight(n), tensors)

        def round_(everything, last):
            number = aggregator.round_number
            base = model(aggregator, number)
            for n in range(job.collaborators - 1):
                tensors = named_tensors(n, number, base)
                with everything:
                    send(n, number, tensors)
            tensors = named_tensors(job.collaborators - 1, number, base)
            with everything, last:
                send(job.collaborators - 1, number, tensors)
            assert aggregator.round_number == number + 1, "the last update ends the round"
            shapes = [tensor.shape for tensor in model(aggregator, number + 1)]
            assert shapes == job.shapes, "the round made a model"

        measure(job, "OpenFL", importlib.metadata.version("openfl"), round_)


main()
