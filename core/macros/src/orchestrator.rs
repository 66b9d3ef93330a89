//! `#[orchestrator]`.

use proc_macro2::TokenStream;
use quote::quote;
use syn::{Error, Result, Type};

use crate::args::OrchestratorArgs;
use crate::function::{CONTEXT, Function, INPUT, Kind, last_segment};

const KIND: Kind =
    Kind { name: "an orchestrator", context: "Context", example: "async fn place_order(ctx: Context, order: Order) -> Result<Receipt, OrderError>" };

pub fn expand(args: TokenStream, item: TokenStream) -> TokenStream {
    // With arguments that cannot be read the orchestrator is still there, so that its users see no second error.
    let (args, problem) = match OrchestratorArgs::parse(args) {
        Ok(args) => (args, None),
        Err(error) => (OrchestratorArgs::default(), Some(error.into_compile_error())),
    };
    let written = Function::parse(item, &KIND).and_then(|function| write(&args, &function)).unwrap_or_else(Error::into_compile_error);
    quote!(#problem #written)
}

fn write(args: &OrchestratorArgs, function: &Function) -> Result<TokenStream> {
    let nothing: Type = syn::parse_quote!(());
    let input = match function.parameters.as_slice() {
        [_] => &nothing,
        [_, input] => input,
        [] => return Err(function.parameters_error("an orchestrator takes its context: write `ctx: Context` as the first parameter")),
        _ => {
            let why = "an orchestrator takes its context and at most one input: put several values into a struct or a tuple";
            return Err(function.parameters_error(why));
        }
    };
    let (ident, guard, reference) = (function.ident(), function.guard(), function.reference());
    let name = args.name.as_ref().map_or_else(|| ident.to_string().trim_start_matches("r#").to_owned(), syn::LitStr::value);
    let version = args.version.as_ref().map_or_else(|| quote!(None), |version| quote!(Some(#version)));
    let call = function.call(&[CONTEXT, INPUT]);
    let (output, wrap) = match next_output(&function.output) {
        Some(output) => (output, None),
        None => (&function.output, Some(quote!(::durable::Next::Done))),
    };
    let run = function.run(&call, wrap);
    Ok(quote! {
        #reference

        #guard
        impl ::durable::Orchestrator for #ident {
            const NAME: &'static str = #name;
            const VERSION: ::core::option::Option<&'static str> = ::core::option::Option::#version;
            type Input = #input;
            type Output = #output;

            async fn run(
                __context: ::durable::Context,
                __input: Self::Input,
            ) -> ::core::result::Result<::durable::Next<Self::Output, Self::Input>, ::durable::Failure> {
                #run
            }
        }
    })
}

/// `Out` of `Next<Out, In>`, whatever stands before `Next`.
fn next_output(ty: &Type) -> Option<&Type> {
    let (name, arguments) = last_segment(ty)?;
    (name == "Next").then(|| arguments.first().copied())?
}
