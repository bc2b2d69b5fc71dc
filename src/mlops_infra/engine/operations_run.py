"""Running what is done once: look where it stands, mint its inputs, run it detached, look again."""

from __future__ import annotations

import time

from mlops_infra.core import Event, EventKind, Operation, OperationState, Outcome, Secret, Standing, Step
from mlops_infra.engine.apply import GroupRun
from mlops_infra.engine.errors import ActionFailed, OperationUnclear, VerifyFailed
from mlops_infra.engine.payload import BatchBusy, BatchResult
from mlops_infra.errors import InfraError

__all__ = ["OperationsRun"]


class OperationsRun:
    """The operations of one step, after its resources are as declared."""

    def __init__(self, run: GroupRun, step: Step) -> None:
        self.run = run
        self.step = step
        self.exchanges = run.exchanges

    def run_all(self) -> None:
        """Stops at the first that fails; the group then carries the error."""
        for operation in self.step.operations:
            try:
                if not self._due(operation):
                    continue
                ran = self._run(operation)
            except InfraError as error:
                self._say(EventKind.OPERATION_ENDED, f"{operation.title}: {error.brief}", Outcome.FAILED)
                self.run.group.fail(self.step, error)
                return
            if ran:
                self.run.group.changed.setdefault(self.step.id, []).append(operation.id)

    # ------------------------------------------------------------------------------------------------------------

    def _standing(self, operation: Operation) -> Standing:
        return operation.standing(self.exchanges.world.of(self.step.host))

    def _due(self, operation: Operation) -> bool:
        """False when done already. What is unknown is asked once more; what stays unknown is not tried blindly."""
        standing = self._standing(operation)
        if standing.state is OperationState.UNKNOWN or standing.underway:
            # A run that was killed leaves its operation at work there, and what is minted for another try may make
            # worthless what that one came with.
            self._wait_and_look(operation)
            standing = self._standing(operation)
        if standing.state is OperationState.BROKEN:
            raise InfraError(
                f"{operation.title}: half-done", host=self.step.host, cause=standing.reason, remedy=standing.remedy
            )
        if standing.state is OperationState.UNKNOWN:
            raise OperationUnclear(
                f"{operation.title}: it cannot be told whether this is done",
                host=self.step.host,
                cause=standing.reason,
                remedy=standing.remedy or "Run again when the API answers (`mlops-infra status`).",
            )
        return standing.state is OperationState.PENDING

    def _wait_and_look(self, operation: Operation) -> None:
        self.exchanges.wait_until_idle(self.run.group.host, self.step.id)
        self._look(operation)

    def _look(self, operation: Operation) -> None:
        self.run.look_again()
        self.run.refresh_api(operation.probes)

    def _run(self, operation: Operation) -> bool:
        """True when it was run by us; False when what was at work there has done it meanwhile."""
        self.run.program.quorum.check_operation(self.step, operation, self.exchanges.world)
        self._say(EventKind.OPERATION_STARTED, operation.title)
        began = time.monotonic()
        for again in (True, True, False):
            try:
                result = self._once(operation)
            except BatchBusy:
                if not again:
                    raise
                self._wait_and_look(operation)
                if not self._due(operation):
                    return False
                continue
            if not self._judge(operation, result, may_repeat=again):
                break
        self._say(EventKind.OPERATION_ENDED, f"{operation.title}: {time.monotonic() - began:.1f} s", Outcome.CHANGED)
        return True

    def _once(self, operation: Operation) -> BatchResult:
        inputs: dict[str, Secret] = {}
        for wanted in operation.inputs:
            inputs.update(self.exchanges.mint(wanted))
        batch = self.run.batch(
            operation.title, script=operation.script(inputs), deadline=operation.deadline, detached=True
        )
        journal = self.exchanges.journal
        journal.record("operation_intent", sync=True, host=self.run.group.host, operation=operation.id, batch=batch.id)
        result = self.exchanges.send(self.run.group.host, batch, self.step.id)
        self.run.learn(result)
        journal.record(
            "operation_done",
            sync=True,
            host=self.run.group.host,
            operation=operation.id,
            batch=batch.id,
            rc=result.operation_rc,
            in_doubt=result.in_doubt,
        )
        return result

    def _judge(self, operation: Operation, result: BatchResult, *, may_repeat: bool) -> bool:
        """The host has the last word: where the script's end is not known, where things stand decides.

        True when it was never begun (the link broke before, or the host restarted) and may be sent again.
        """
        failed = result.failure
        if result.in_doubt:
            self._look(operation)
        elif failed is None:
            self.run.forget_api(operation.probes)
        standing = Standing(OperationState.UNKNOWN) if failed else self._standing(operation)
        if standing.state is OperationState.UNKNOWN and failed is None:
            self.run.refresh_api(operation.probes)
            standing = self._standing(operation)
        if standing.state is OperationState.DONE:
            return False
        if result.in_doubt and may_repeat and standing.state is OperationState.PENDING:
            return True
        if failed:
            raise ActionFailed(
                f"{operation.title}: {'time ran out' if failed.rc in (124, 137) else f'ended with {failed.rc}'}",
                host=self.step.host,
                details=result.operation_output or failed.output,
                remedy=f"The whole output is in {self.exchanges.journal.directory / 'output.log'}.",
            )
        raise VerifyFailed(
            f"{operation.title}: it ran, and yet it is {standing.state}",
            host=self.step.host,
            details=result.operation_output,
            cause=standing.reason,
            remedy=standing.remedy or "Run again: the run looks first at how far it came.",
        )

    def _say(self, kind: EventKind, text: str, outcome: Outcome | None = None) -> None:
        self.exchanges.emit(Event(time.time(), kind, self.run.group.host, self.step.id, text, outcome))
