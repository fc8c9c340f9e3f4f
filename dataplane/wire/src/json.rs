//! The JSON dialect of bodies.
