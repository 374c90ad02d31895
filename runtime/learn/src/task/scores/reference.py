"""Losses with their gradients as PyTorch has them, and metrics as scikit-learn has them, both in float64.

    pip install torch scikit-learn
    python reference.py > reference.json

A value that PyTorch or scikit-learn does not define, or gives a default for, is null: the program leaves such a metric
out. The soft Dice score is the formula of OpenFL's U-Net; the focal loss is torchvision's formula.
"""

import json

import numpy as np
import sklearn
import sklearn.metrics as sk
import torch
import torch.nn.functional as F


def soft_dice(p, m):
    """The score of each sample."""
    p, m = p.flatten(1), m.flatten(1)
    return 2 * ((p * m).sum(1) + 1) / (p.sum(1) + m.sum(1) + 1)


def focal(x, y, gamma=2.0, alpha=0.25):
    p = x.sigmoid()
    entropy = F.binary_cross_entropy_with_logits(x, y, reduction="none")
    missed = 1 - (p * y + (1 - p) * (1 - y))
    return (entropy * missed**gamma * (alpha * y + (1 - alpha) * (1 - y))).mean()


def entropy(**settings):
    return lambda x, y: F.cross_entropy(x, y.long(), **settings)


def weights(*values):
    return torch.tensor(values, dtype=torch.float64)


LOSSES = {
    "entropy": entropy(),
    "entropy_weighted": entropy(weight=weights(1, 2, 0.5)),
    "entropy_smoothed": entropy(label_smoothing=0.1),
    "entropy_both": entropy(weight=weights(1, 2, 0.5), label_smoothing=0.1),
    "binary": F.binary_cross_entropy_with_logits,
    "dice": lambda p, y: 1 - soft_dice(p, y).mean(),
    "dice_logits": lambda x, y: 1 - soft_dice(x.sigmoid(), y).mean(),
    "bce_dice": lambda x, y: F.binary_cross_entropy_with_logits(x, y) + 1 - soft_dice(x.sigmoid(), y).mean(),
    "focal": focal,
    "focal_set": lambda x, y: focal(x, y, gamma=1.5, alpha=0.6),
    "mse": F.mse_loss,
    "l1": F.l1_loss,
    "huber": F.huber_loss,
    "huber_set": lambda x, y: F.huber_loss(x, y, delta=0.4),
}


def counted(answers, truths, average, labels):
    """Metrics over answers and labels of a whole validation set."""
    answers, truths = answers.ravel(), truths.ravel()
    found = {"accuracy": sk.accuracy_score(truths, answers)}
    if average == "binary":
        tn, fp, fn, tp = sk.confusion_matrix(truths, answers, labels=[0, 1]).ravel()
        there = tp + fp + fn > 0
        found["f1"] = sk.f1_score(truths, answers, zero_division=0) if there else None
        found["precision"] = sk.precision_score(truths, answers, zero_division=0) if there else None
        found["sensitivity"] = sk.recall_score(truths, answers) if tp + fn else None
        found["specificity"] = sk.recall_score(truths, answers, pos_label=0) if tn + fp else None
        return found
    seen = sorted(set(truths) | set(answers))
    found["f1"] = sk.f1_score(truths, answers, average="macro", labels=seen, zero_division=0)
    found["precision"] = sk.precision_score(truths, answers, average="macro", labels=seen, zero_division=0)
    found["sensitivity"] = sk.recall_score(truths, answers, average="macro", labels=sorted(set(truths)))
    by_class = sk.multilabel_confusion_matrix(truths, answers, labels=labels)
    found["specificity"] = np.mean([tn / (tn + fp) for (tn, fp), _ in by_class if tn + fp])
    return found


def classes(x, y):
    """x [rows, classes, ...], y [rows, ...]."""
    count = x.shape[1]
    answers = x.argmax(1)
    found = counted(answers, y, "binary" if count == 2 else "macro", list(range(count)))
    flat = np.moveaxis(x, 1, -1).reshape(-1, count)
    for k in (2, 3):
        if k < count:
            found[f"top_{k}"] = sk.top_k_accuracy_score(y.ravel(), flat, k=k, labels=list(range(count)))
    if y.ndim > 1:
        of = []
        for truth, answer in zip(y, answers):
            seen = [1] if count == 2 else sorted(set(truth.ravel()) | set(answer.ravel()))
            of.append(sk.jaccard_score(truth.ravel(), answer.ravel(), labels=seen, average="macro", zero_division=1))
        found["iou"] = np.mean(of)
    elif count == 2:
        found["auc"] = sk.roc_auc_score(y, x[:, 1] - x[:, 0]) if len(set(y)) == 2 else None
    return found


def shares(p, y):
    """p [rows, ...] from 0 to 1, y alike."""
    found = counted((p > 0.5).astype(int), (y > 0.5).astype(int), "binary", [0, 1])
    if y[0].size == 1:
        found["auc"] = sk.roc_auc_score(y.ravel() > 0.5, p.ravel()) if len(set(y.ravel() > 0.5)) == 2 else None
        return found
    found["dice"] = soft_dice(torch.tensor(p), torch.tensor(y)).mean().item()
    pairs = [((b > 0.5).ravel(), (a > 0.5).ravel()) for a, b in zip(p, y)]
    found["iou"] = np.mean([sk.jaccard_score(b, a, zero_division=1) for b, a in pairs])
    return found


def numbers(x, y):
    x, y = x.reshape(len(x), -1), y.reshape(len(y), -1)
    constant = (y == y[0]).all(0).any()
    return {
        "rmse": sk.mean_squared_error(y.ravel(), x.ravel()) ** 0.5,
        "mae": sk.mean_absolute_error(y, x),
        "r2": None if constant else sk.r2_score(y, x),
    }


def case(loss, outputs, labels):
    x = torch.tensor(outputs, dtype=torch.float64, requires_grad=True)
    y = torch.tensor(labels, dtype=torch.float64)
    value = LOSSES[loss](x, y)
    (gradient,) = torch.autograd.grad(value, x)
    x, y = x.detach().numpy(), y.numpy()
    if loss.startswith("entropy"):
        metrics = classes(x, y.astype(int))
    elif loss in ("mse", "l1", "huber", "huber_set"):
        metrics = numbers(x, y)
    else:
        metrics = shares(x if loss == "dice" else 1 / (1 + np.exp(-x)), y)
    return {
        "loss": loss,
        "rows": len(x),
        "output": x.ravel().tolist(),
        "labels": y.ravel().tolist(),
        "value": value.item(),
        "gradient": gradient.numpy().ravel().tolist(),
        "metrics": {name: None if v is None else float(v) for name, v in metrics.items()},
    }


def grid(rng, *shape, least=-4, most=4):
    """Multiples of 1/64, which float32 and JSON hold exactly."""
    return rng.integers(least * 64, most * 64 + 1, shape) / 64


def main():
    rng = np.random.default_rng(14)
    cases = {}
    for loss in ("entropy", "entropy_weighted", "entropy_smoothed", "entropy_both"):
        cases[loss] = case(loss, grid(rng, 12, 3), rng.integers(0, 3, 12))
        cases[f"{loss}, masks"] = case(loss, grid(rng, 3, 3, 4, 5), rng.integers(0, 3, (3, 4, 5)))
    cases["two classes"] = case("entropy", grid(rng, 16, 2), rng.integers(0, 2, 16))
    cases["two classes, masks"] = case("entropy", grid(rng, 3, 2, 4, 4), rng.integers(0, 2, (3, 4, 4)))
    cases["four classes, one of them never"] = case("entropy", grid(rng, 9, 4), rng.integers(0, 3, 9))
    cases["one class alone"] = case("entropy", grid(rng, 6, 2), np.ones(6, int))
    cases["one class of three alone"] = case("entropy", grid(rng, 6, 3), np.full(6, 2))
    cases["binary"] = case("binary", grid(rng, 20, 1), rng.integers(0, 2, (20, 1)))
    cases["binary, no yes"] = case("binary", grid(rng, 5, 1), np.zeros((5, 1)))
    cases["binary, no yes, none found"] = case("binary", grid(rng, 5, 1, least=-4, most=-1), np.zeros((5, 1)))
    cases["binary, none found"] = case("binary", grid(rng, 6, 1, least=-4, most=-1), [[0], [1], [0], [1], [1], [0]])
    cases["binary, vectors"] = case("binary", grid(rng, 6, 3), rng.integers(0, 2, (6, 3)))
    for loss in ("binary", "dice_logits", "bce_dice", "focal", "focal_set"):
        # Masks of JPEG files are not 0 and 1 alone.
        soft = rng.integers(0, 5, (4, 1, 3, 4)) / 4 * (rng.random((4, 1, 3, 4)) < 0.6)
        cases[f"{loss}, masks"] = case(loss, grid(rng, 4, 1, 3, 4), soft)
    mask = rng.integers(0, 2, (4, 1, 4, 4))
    cases["dice"] = case("dice", rng.integers(0, 65, (4, 1, 4, 4)) / 64, mask)
    empty = mask * np.array([0, 1, 0, 1]).reshape(4, 1, 1, 1)
    share = rng.integers(0, 65, (4, 1, 4, 4)) / 64 * np.array([0, 1, 1, 0]).reshape(4, 1, 1, 1)
    cases["dice, an empty pair, an empty mask, an empty answer"] = case("dice", share, empty)
    cases["dice, all masks empty"] = case("dice", np.zeros((2, 1, 2, 2)), np.zeros((2, 1, 2, 2)))
    cases["dice, all masks full"] = case("dice", np.ones((2, 1, 2, 2)), np.ones((2, 1, 2, 2)))
    for loss in ("mse", "l1", "huber", "huber_set"):
        cases[loss] = case(loss, grid(rng, 8, 1, least=-2, most=2), grid(rng, 8, 1, least=-2, most=2))
        cases[f"{loss}, vectors"] = case(loss, grid(rng, 7, 3, least=-2, most=2), grid(rng, 7, 3, least=-2, most=2))
    cases["constant target"] = case("mse", grid(rng, 5, 1), np.full((5, 1), 0.75))
    cases["a constant number of a vector"] = case("l1", grid(rng, 5, 2), np.c_[np.full(5, 0.75), grid(rng, 5)])
    far = 1e4 + grid(rng, 8, 1)
    cases["targets far from zero"] = case("mse", far + grid(rng, 8, 1, least=-1, most=1), far)
    about = {"torch": torch.__version__, "scikit-learn": sklearn.__version__, "numpy": np.__version__}
    lines = ",\n".join(f"  {json.dumps(name)}: {json.dumps(of)}" for name, of in cases.items())
    print(f'{{\n "made with": {json.dumps(about)},\n "cases": {{\n{lines}\n }}\n}}')


main()
