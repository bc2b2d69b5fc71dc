"""For tests of phases and resources, ours and yours: hosts that answer from memory, and a loader for cases as data.

    from mlops_infra.testing import FakeTransport, load_cases

`FakeTransport` stands in for SSH: its hosts answer observe scripts from facts (`scripted`), or run the generated sh on
this machine (`local_shell`). `FakePlatform` (testing.platform) goes further: hosts that also take writes. `load_cases`
reads TOML or JSON files of *facts and desired state → changes*.
"""

from mlops_infra.testing.cases import Case, load_cases, to_probe
from mlops_infra.testing.facts import answer_script, scripted
from mlops_infra.testing.transport import FakeHeld, FakeSession, FakeTransport, local_shell

__all__ = [
    "Case",
    "FakeHeld",
    "FakeSession",
    "FakeTransport",
    "answer_script",
    "load_cases",
    "local_shell",
    "scripted",
    "to_probe",
]
