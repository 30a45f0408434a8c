"""Benchmarks: each case against a baseline in the same run, so that the ratio means something on any machine.

`rounds` measures (A B A B ..., client CPU beside wall time), `rows` says what came out, and one module per case says
what is compared with what. Loops that belong to a process (`BatchLoop`, `TransactionalLoop`) run in a process of their
own per round (`embedding_process`, `settlement_process`). Goals stand beside each case; missing one is no error, since
the machine may be busy. A result whose invariant was broken is void: it has no ratio.
"""
