"""Control Plane: which agent, tools, prompt and parameters, flags and configuration hold for a tenant now.

Start with :class:`ControlPlaneClient`; :func:`context` says for whom. Answers come out of this process, from a view
that is kept fresh in the background.
"""

from control_plane._context import context
from control_plane.agents import Agent, CallPolicy, Tool, ToolName
from control_plane.client import ControlPlaneClient, Evaluation
from control_plane.contract import AgentContract, Contract
from control_plane.errors import ControlPlaneError

__all__ = [
    "Agent",
    "AgentContract",
    "CallPolicy",
    "Contract",
    "ControlPlaneClient",
    "ControlPlaneError",
    "Evaluation",
    "Tool",
    "ToolName",
    "context",
]
