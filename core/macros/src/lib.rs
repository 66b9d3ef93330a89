//! Attributes.

use proc_macro::TokenStream;

/// To come.
#[proc_macro_attribute]
pub fn activity(_args: TokenStream, item: TokenStream) -> TokenStream {
    item
}

/// To come.
#[proc_macro_attribute]
pub fn orchestrator(_args: TokenStream, item: TokenStream) -> TokenStream {
    item
}
