//! `#[activity]`.

use proc_macro2::TokenStream;
use quote::quote;
use syn::{Error, Result, Type};

use crate::args::ActivityArgs;
use crate::duration::Millis;
use crate::function::{CONTEXT, Function, INPUT, Kind, last_segment};

const KIND: Kind =
    Kind { name: "an activity", context: "ActivityContext", example: "async fn quote(ctx: ActivityContext, order: Order) -> Result<Quote, QuoteError>" };

pub fn expand(args: TokenStream, item: TokenStream) -> TokenStream {
    // With arguments that cannot be read the activity still gets its defaults, so that its users see no second error.
    let (args, problem) = match ActivityArgs::parse(args) {
        Ok(args) => (args, None),
        Err(error) => (ActivityArgs::default(), Some(error.into_compile_error())),
    };
    let written = Function::parse(item, &KIND).and_then(|function| write(&args, &function)).unwrap_or_else(Error::into_compile_error);
    quote!(#problem #written)
}

fn write(args: &ActivityArgs, function: &Function) -> Result<TokenStream> {
    let nothing: Type = syn::parse_quote!(());
    let (input, call) = match function.parameters.as_slice() {
        [] => (&nothing, function.call(&[])),
        [context] if is_context(context) => (&nothing, function.call(&[CONTEXT])),
        [input] => (input, function.call(&[INPUT])),
        [_, input] => (input, function.call(&[CONTEXT, INPUT])),
        _ => {
            let why = "an activity takes at most its context and one input: put several values into a struct or a tuple";
            return Err(function.parameters_error(why));
        }
    };
    let (ident, guard, reference) = (function.ident(), function.guard(), function.reference());
    let name = args.name.as_ref().map_or_else(|| ident.to_string().trim_start_matches("r#").to_owned(), syn::LitStr::value);
    let (output, options) = (&function.output, options(args));
    let run = function.run(&call, None);
    Ok(quote! {
        #reference

        #guard
        impl ::durable::Activity for #ident {
            const NAME: &'static str = #name;
            type Input = #input;
            type Output = #output;

            #options

            async fn run(__context: ::durable::ActivityContext, __input: Self::Input) -> ::core::result::Result<Self::Output, ::durable::Failure> {
                #run
            }
        }
    })
}

/// `options()`, if there is anything to say.
fn options(args: &ActivityArgs) -> Option<TokenStream> {
    if args.retry.is_none() && args.attempt_timeout.is_none() {
        return None;
    }
    let retry = args.retry.as_ref().map_or_else(|| quote!(::durable::RetryPolicy::none()), crate::args::Retry::expression);
    let timeout = args.attempt_timeout.map(Millis::expression).map_or_else(|| quote!(None), |time| quote!(Some(#time)));
    Some(quote! {
        fn options() -> ::durable::ActivityOptions {
            ::durable::ActivityOptions { retry: #retry, attempt_timeout: ::core::option::Option::#timeout }
        }
    })
}

fn is_context(ty: &Type) -> bool {
    last_segment(ty).is_some_and(|(name, _)| name == KIND.context)
}
