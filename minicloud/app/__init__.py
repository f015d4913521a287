"""This package puts the two programs together, each in a module of its own.

    from minicloud.app.control_plane import run_control_plane
    exit_code = run_control_plane(config)       # returns when a signal has ended the control plane

`control_plane` and `worker` import nothing of each other, so that a worker starts without the time that the
imports of a control plane take (`tests/unit/test_app.py`). `serving`, `signals` and `service_manager` are for
both; `collector` is for the control plane.
"""
