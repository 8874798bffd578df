"""Deterministic simulation: the shipped engine over the memory broker, in virtual time, with everything that can go
wrong drawn from one seed, and every promise checked at every step.

    world         one seed, and how it ended; its `course` from the first event to the last
    scenario      what the seed draws before anything happens; `limits` are small enough to be met, a `detour` is how
                  far retry topics reach
    loop          an event loop on virtual time; one step is one callback; each is of a `process` that can be killed
    node          a runtime: the shipped engine in a process, killed, frozen and started again
    pool, worker  as the dispatch sees them; a `handler` does with the events of its `work` what their `script` says
    producer      what is written to the topics, and the gaps in it
    trouble       what goes wrong, and when
    witness       the promises. Its parts each see one thing: `sessions` who holds what, `starts` and `ends` what a
                  worker does, `publications` and `settlements` what reaches the `disk`, `detours` what goes through
                  retry topics, `intake` what is fetched; `life` is what is known of an event where it lies, `account`
                  and `note` read progress and retry records, not as the shipped code does
    observed      where a runtime is listened to
    census        how often everything that a simulation is for has happened
    defects       planted defects, which the simulation must find; and `misreadings`, and those of `byways`

A step is one callback of the event loop: a turn of a task of a runtime, of the log or of the world, a timer, a report
of a worker. About one in six hands out, runs, reports or settles events; the others are what lies between.

`make simulate SEEDS=17` replays a seed, `SEEDS=0-999` runs many.
"""
