"""The fleet as people see and steer it."""
