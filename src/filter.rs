//! The word filter.
