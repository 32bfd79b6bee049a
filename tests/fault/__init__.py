"""What users see while parts of the fleet, its servers and its network fail. `make fault` runs it at full length."""
