"""Virtual time: Trio under a clock that jumps to the next event, with chance from one seed.

    timeline = Timeline()
    timeline.at(3.0, print, "three seconds in, and no time has passed")
    run_virtually(main, timeline, seed=7)

The same seed gives the same order of everything in every process. Real clocks, sockets and unseeded chance
raise `ImpureError` meanwhile.
"""
