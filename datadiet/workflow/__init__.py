"""The verbs, each in its own room: the only place that calls several layers in turn.

`rescore` and `select` do not import torch.
"""
