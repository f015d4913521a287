"""One run of a schedule on a simulated cluster, with the observers that receive its events.

simulation = Simulation(schedule, [Oracle(), Recorder(schedule)])
simulation.run()
"""
