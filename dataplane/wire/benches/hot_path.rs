//! Measures the codec's hot path.
fn main() {}
