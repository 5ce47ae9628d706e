"""What people see of a conversion: the same facts as data, and drawn for the terminal."""
