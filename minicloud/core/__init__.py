"""Core decides everything about membership. It does no I/O and reads no clock (DESIGN 4).

    registry = Registry(LivenessPolicy())
    command = Register(endpoint="10.0.0.7:9091", generated_id=WorkerId("worker-1"))
    for event in registry.decide(command, now_s=0.0):
        registry.apply(event)
    registry.get("worker-1").status  # Status.HEALTHY

`commands` and `events` are the input and the output of a decision, `registry` decides, `state` applies.
"""
