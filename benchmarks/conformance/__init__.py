"""Methods beside other implementations of them: a file for each peer, run by `benchmarks/run_conformance.py`."""
