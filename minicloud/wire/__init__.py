"""The wire contract: generated messages and stubs (`gen`), and their conversion to the core's types.

    request = RegisterWorkerRequest.FromString(data)    # or ValueError
    data = request.SerializeToString()
    resources = resources_from_message(request.resources)  # or InvalidError

`message` is the base of generated messages, `codec` joins them with protobuf's C messages, `convert` has the
conversions.
"""
