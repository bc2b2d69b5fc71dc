"""The twin: the hosts of a cluster.yaml as systemd containers on this machine, with real names and addresses.

`up`, `down`, `reset`, `fail`, `heal` and the rest are in `lab.lab`; nothing here prints. Needs root.
"""
