//! To be replaced by the command line.

fn main() {}
