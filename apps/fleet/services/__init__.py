"""What a harness, a person or a task does with the fleet."""
