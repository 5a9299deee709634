"""Flows: jobs over several queues under one id, as pure data and pure decisions.

`jobqueue.flows.model` says what a flow is, `jobqueue.flows.decide` what follows from how its steps stand, and
`jobqueue.flows.build` puts steps together.
"""

from jobqueue.flows.build import batch, chain, group
from jobqueue.flows.decide import Counts, Reset, outcome, ready, replayed, settle
from jobqueue.flows.model import Flow, FlowState, OnFailure, Step, StepState

__all__ = [
    "Counts", "Flow", "FlowState", "OnFailure", "Reset", "Step", "StepState",
    "batch", "chain", "group", "outcome", "ready", "replayed", "settle",
]  # fmt: skip
