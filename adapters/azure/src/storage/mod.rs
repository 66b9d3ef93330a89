//! One Azure Storage account: where its services are, who may use them, and one request to them, sent once.
//!
//! This is a client of our own, for what there is does not serve. `azure_data_tables` 0.21, the last of its line, reports a failed transaction
//! as a success and drops which of its operations failed and why; it does not double the quotes in keys; it brings a second HTTP stack; and it
//! has no successor. The queue crate of the present line takes no account key, and so no connection string. What is needed of the service is
//! little: a signed request, an answer, and an error that tells whether the request may have been carried out ([`SendError`]).
//!
//! Must never: repeat a request, follow a redirect, wait without a limit, send a bearer token over a connection that is not encrypted, or show
//! a key, a signature or a token to anybody.

mod account;
mod auth;
mod error;
mod identity;
mod send;
mod transactions;

pub use account::{Account, AccountError, DEVELOPMENT_STORAGE};
pub use auth::{Token, TokenError, TokenFuture, TokenSource};
pub use error::{Refusal, SendError};
pub use identity::ManagedIdentity;
pub use reqwest::Method;
pub use send::{Answer, Options, Request, Service, Storage};
pub use transactions::Transactions;
