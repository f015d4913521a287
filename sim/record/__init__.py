"""The record of a run: a trace of every event, figures for the outcome, and samples for the report.

recorder = Recorder(schedule, oracle.violations, trace=Path("trace"))
Simulation(schedule, [oracle, recorder]).run()
recorder.record(oracle.detection_s, oracle.recovery_s)
"""
