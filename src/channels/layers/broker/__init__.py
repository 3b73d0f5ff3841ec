"""What every layer with a broker is made of: names, delivery, receiving."""
