//! What is special about the Table Storage store.

mod access;
mod borders;
mod costs;
mod extras;
mod faults;
