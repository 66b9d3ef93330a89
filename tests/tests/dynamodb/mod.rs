//! What is special about the DynamoDB store.

mod borders;
mod costs;
mod extras;
mod faults;
