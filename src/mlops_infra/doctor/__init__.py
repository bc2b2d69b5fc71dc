"""The doctor: checks as data, verdicts as pure functions of what one look at the platform has shown."""
