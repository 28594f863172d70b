"""`exp doctor`: what is wrong with the installation or the stored state, and what to do. Writes nothing."""
