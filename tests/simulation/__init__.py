"""Deterministic simulation: the shipped engine over the memory broker, in virtual time, with everything that can go
wrong drawn from one seed, and every promise checked at every step.

    world         one seed: its course, and how it ended
    scenario      what the seed draws before anything happens; `limits` are small enough to be met
    loop          an event loop on virtual time; one step is one callback; operating-system processes that can be killed
    node          a runtime: the shipped engine in a process, killed, frozen and started again
    pool, worker  as the dispatch sees them; a `handler` does with the events of its `work` what their `script` says
    producer      what is written to the topics, and the gaps in it
    trouble       what goes wrong, and when
    witness       the promises. Its parts each see one thing: `sessions` who holds what, `starts` and `ends` what a
                  worker does, `publications` and `settlements` what reaches the `disk`, `intake` what is fetched;
                  `life` is what is known of an event, `account` a reading of progress that is not the shipped one
    observed      where a runtime is listened to
    census        how often everything that a simulation is for has happened
    defects       planted defects, which the simulation must find; and `misreadings`

A step is one callback of the event loop: a turn of a task of a runtime, of the log or of the world, a timer, a report
of a worker. About one in six hands out, runs, reports or settles events; the others are what lies between.

`make simulate SEEDS=17` replays a seed, `SEEDS=0-999` runs many.
"""
