"""The authors' code of LESS: from stored gradients to scores."""

from __future__ import annotations

from functools import partial

from conformance.case import Arrays, Case, Peer, script
from conformance.checkpoints import LR, agreement, loader, networks, one_reference, ours, trained

TASKS = 9  # of the data set whose name they are run with


def theirs(data: Arrays) -> Arrays:
    """Per-example gradients of length 1 by torch, in files for their script."""
    import tempfile

    import torch
    from torch.nn.functional import cross_entropy, normalize

    def loss(parameters: dict[str, torch.Tensor], x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        return cross_entropy(torch.func.functional_call(model, parameters, x[None]), y[None])

    gradient = torch.func.vmap(torch.func.grad(loss), in_dims=(None, 0, 0))
    with tempfile.TemporaryDirectory() as folder:
        for number, model in enumerate(networks(data)):
            weights = {name: value.detach() for name, value in model.named_parameters()}
            for name, prefix in (("train", ""), ("tydiqa", "val_")):
                parts = [gradient(weights, x, y).values() for x, y in loader(data, prefix)]
                rows = torch.cat([torch.cat([value.flatten(1) for value in part], dim=1) for part in parts])
                each = TASKS if len(rows) == 1 else 1
                torch.save(normalize(rows, dim=1).repeat(each, 1), f"{folder}/{number}-{name}.pt")
        path, numbers = f"{folder}/{{}}-{{}}.pt", [str(number) for number in range(len(LR))]
        script("less/data_selection/matching.py", "--gradient_path", path, "--validation_gradient_path", path,
               "--train_file_names", "train", "--target_task_names", "tydiqa", "--ckpts", *numbers,
               "--checkpoint_weights", *map(str, LR), "--output_path", folder)  # fmt: skip
        return {"score": torch.load(f"{folder}/tydiqa/train_influence_score.pt").numpy()}


PEER = Peer(
    "LESS",
    (
        Case("grad_cos", "3 checkpoints, 512 images, one for reference in each of 9 tasks", 512, one_reference,
             partial(ours, "grad_cos"), theirs, agreement, {"largest relative difference": (0, 1e-5)}),
        Case("grad_cos", "the same, 7 others for reference in each task", 512, partial(trained, references=7 * TASKS),
             partial(ours, "grad_cos"), theirs, agreement, {"correlation": (0.3, 0.999)},
             "the largest of the tasks' mean cosines there; here the cosine with the mean gradient"),
    ),
    repository="princeton-nlp/LESS",
)  # fmt: skip
