"""A seeded synthetic volume with a known isotropic truth, to try everything on."""
