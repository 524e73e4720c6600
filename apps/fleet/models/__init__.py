"""What PostgreSQL holds of the fleet."""
