"""Liveness decides when a silent worker is UNHEALTHY, and when it is forgotten (DESIGN 83).

    detector = Detector(LivenessPolicy(heartbeat_timeout_s=120.0))
    detector.renew(worker.deadline, now_s=0.0)
    detector.due(now_s=120.0)  # [Expired("worker-1", 120.0, "no heartbeat for 120 s")]

`policy` holds every figure, `deadlines` the order in which workers fall due, `detector` the verdicts, `grace`
the time a worker gets after a start of the control plane, `attention` the time during which the control plane
listened. The registry turns the detector's verdicts into events. No module here reads a clock.
"""
