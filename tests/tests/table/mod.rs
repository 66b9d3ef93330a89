//! What is special about the Table Storage store.

mod borders;
mod costs;
mod extras;
mod faults;
