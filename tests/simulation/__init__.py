"""Deterministic simulation: the shipped engine over the memory broker, in virtual time, with everything that can go
wrong drawn from one seed, and every promise checked at every step.

    world      one seed: a scenario, its trouble, and how it ended
    loop       an event loop on virtual time; one step is one callback; operating-system processes that can be killed
    node       a runtime: the shipped engine in a process, killed, frozen and started again
    worker     workers and pools as the dispatch sees them; events behave as their `script` says
    trouble    what goes wrong, and when
    witness    the promises, and what was seen so far; it reads progress by `account`, not by shipped code
    defects    planted defects, which the simulation must find

A step is one callback of the event loop: a turn of a task of a runtime, of the log or of the world, a timer, a report
of a worker. About one in six hands out, runs, reports or settles events; the others are what lies between.

`make simulate SEEDS=17` replays a seed, `SEEDS=0-999` runs many.
"""
