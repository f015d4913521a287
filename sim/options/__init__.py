"""The values of scenarios and schedules: kinds of values, and keys with a name, a default and a meaning.

key = Key("probability", share(), "how many messages are lost", "10%")
key.kind.read("15%")  # 0.15
key.default_value     # 0.1
"""
