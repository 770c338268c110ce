"""The verbs: the only place that calls several layers in a row.

`rescore` and `select` import no torch.
"""
