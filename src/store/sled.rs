//! The embedded default: a store on sled.
