//! A toy.
