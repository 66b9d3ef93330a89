//! What both attributes ask of a function, and the parts of what they write that are the same.

use proc_macro2::{Span, TokenStream};
use quote::{ToTokens, format_ident, quote, quote_spanned};
use syn::spanned::Spanned as _;
use syn::{Attribute, Error, FnArg, GenericArgument, Ident, ItemFn, PathArguments, Result, ReturnType, Type};

/// The parameters of `run`. A user's unit struct of such a name would get in their way, so they are not pretty.
pub const CONTEXT: &str = "__context";
pub const INPUT: &str = "__input";

/// A function that has the shape of an activity or orchestrator.
pub struct Function {
    item: ItemFn,
    /// The types of its parameters.
    pub parameters: Vec<Type>,
    /// The first generic argument of the `Result` that it returns.
    pub output: Type,
    /// Where its error type stands, or else its `Result`.
    result_span: Span,
}

/// How errors speak of it.
pub struct Kind {
    /// `an activity`
    pub name: &'static str,
    /// The name of its context's type.
    pub context: &'static str,
    /// A function as it should be.
    pub example: &'static str,
}

impl Function {
    /// Reads a function. All that is wrong with it is told at once.
    pub fn parse(tokens: TokenStream, kind: &Kind) -> Result<Self> {
        let item: ItemFn = syn::parse2(tokens).map_err(|e| Error::new(e.span(), kind.is("a function")))?;
        let sig = &item.sig;
        let mut problems = Problems(None);
        if sig.asyncness.is_none() {
            problems.add(sig.fn_token, kind.is("an `async fn`"));
        }
        if sig.constness.is_some() || sig.abi.is_some() || !sig.safety.to_token_stream().is_empty() {
            let (constness, safety, abi) = (&sig.constness, &sig.safety, &sig.abi);
            problems.add(quote!(#constness #safety #abi), kind.is("an `async fn` without `const`, `unsafe` and `extern`"));
        }
        if !sig.generics.params.is_empty() {
            let why = format!("{} has one stored name, so it cannot have generic parameters: write one function for each type", kind.name);
            problems.add(&sig.generics, why);
        } else if let Some(clause) = &sig.generics.where_clause {
            problems.add(clause, format!("{} has no generic parameters, so it needs no `where`", kind.name));
        }
        let parameters: Vec<Type> = sig.inputs.iter().filter_map(|parameter| problems.parameter(parameter, kind)).collect();
        if parameters.iter().skip(1).any(|ty| last_segment(ty).is_some_and(|(name, _)| name == kind.context)) {
            problems.add(&sig.inputs, format!("the context comes first: write `{}`", kind.example));
        }
        let returned = result_types(&sig.output);
        if returned.is_none() {
            let why = format!("{} returns a `Result<Output, Error>`, such as `{}`", kind.name, kind.example);
            match &sig.output {
                ReturnType::Default => problems.add(&sig.ident, why),
                ReturnType::Type(_, ty) => problems.add(ty, why),
            }
        }
        match (problems.0, returned) {
            (None, Some((output, result_span))) => Ok(Self { parameters, output, result_span, item }),
            (problems, _) => Err(problems.unwrap_or_else(|| Error::new_spanned(&sig.ident, kind.is("a function")))),
        }
    }

    /// Its name.
    pub const fn ident(&self) -> &Ident {
        &self.item.sig.ident
    }

    /// An error about its parameters.
    pub fn parameters_error(&self, why: &str) -> Error {
        let sig = &self.item.sig;
        if sig.inputs.is_empty() { Error::new_spanned(&sig.ident, why) } else { Error::new_spanned(&sig.inputs, why) }
    }

    /// The unit struct that stands for the function, with the function itself as its `call`.
    pub fn reference(&self) -> TokenStream {
        let ItemFn { attrs, vis, sig, block, .. } = &self.item;
        let ident = &sig.ident;
        let on_struct = with_names(attrs, &["doc", "cfg", "allow", "deprecated"]);
        let on_call = attrs.iter().filter(|attr| !attr.path().is_ident("cfg") && !attr.path().is_ident("deprecated"));
        let also = documented(attrs).then(|| quote!(#[doc = ""]));
        let mut call = sig.clone();
        call.ident = format_ident!("call", span = ident.span());
        let guard = self.guard();
        quote! {
            #(#on_struct)*
            #[allow(non_camel_case_types)]
            #[derive(::core::clone::Clone, ::core::marker::Copy, ::core::fmt::Debug)]
            #vis struct #ident;

            #guard
            impl #ident {
                #(#on_call)*
                #also
                #[doc = "This runs the function itself, as a unit test does."]
                #vis #call #block
            }
        }
    }

    /// What stands above each `impl`.
    pub fn guard(&self) -> TokenStream {
        let cfg = with_names(&self.item.attrs, &["cfg"]);
        quote!(#(#cfg)* #[allow(deprecated)])
    }

    /// `call(..)` with these variables. Each is placed at its parameter, so that a wrong type is told there.
    pub fn call(&self, variables: &[&str]) -> TokenStream {
        let variables = self.parameters.iter().zip(variables).map(|(parameter, variable)| at(parameter.span(), variable));
        quote!(Self::call(#(#variables),*).await)
    }

    /// The body of `run`: the outcome of the call, with its value passed through `wrap`, and its error as a failure. A wrong type is told
    /// where the function says what it returns.
    pub fn run(&self, call: &TokenStream, wrap: Option<TokenStream>) -> TokenStream {
        let outcome = at(self.output.span(), "__outcome");
        let value = wrap.map_or_else(|| quote!(#outcome), |wrap| quote!(::core::result::Result::map(#outcome, #wrap)));
        let error_span = Span::call_site().located_at(self.result_span);
        let result = quote_spanned!(error_span=> ::core::result::Result::map_err(#value, ::durable::Failure::from_error));
        quote! {
            let #outcome = #call;
            #result
        }
    }
}

impl Kind {
    fn is(&self, what: &str) -> String {
        format!("{} is {what}: write `{}`", self.name, self.example)
    }
}

/// The last name in the path of a type, and its generic arguments that are types.
pub fn last_segment(ty: &Type) -> Option<(&Ident, Vec<&Type>)> {
    let Type::Path(path) = ty else { return None };
    let last = path.path.segments.last()?;
    let arguments = match &last.arguments {
        PathArguments::AngleBracketed(list) => {
            list.args.iter().filter_map(|argument| if let GenericArgument::Type(ty) = argument { Some(ty) } else { None }).collect()
        }
        _ => Vec::new(),
    };
    Some((&last.ident, arguments))
}

/// `Out` of `Result<Out, E>`, whatever stands before `Result`, and where `E` stands.
fn result_types(output: &ReturnType) -> Option<(Type, Span)> {
    let ReturnType::Type(_, ty) = output else { return None };
    let (name, arguments) = last_segment(ty)?;
    let output = arguments.first().copied().filter(|_| name == "Result")?;
    Some((output.clone(), arguments.get(1).map_or_else(|| ty.span(), |error| error.span())))
}

/// A variable of the generated code that errors show at a place in the user's.
fn at(span: Span, variable: &str) -> Ident {
    Ident::new(variable, Span::call_site().located_at(span))
}

fn with_names<'a>(attrs: &'a [Attribute], names: &'a [&str]) -> impl Iterator<Item = &'a Attribute> {
    attrs.iter().filter(|attr| names.iter().any(|name| attr.path().is_ident(name)))
}

fn documented(attrs: &[Attribute]) -> bool {
    attrs.iter().any(|attr| attr.path().is_ident("doc"))
}

/// Errors that are told together.
struct Problems(Option<Error>);

impl Problems {
    fn add(&mut self, at: impl ToTokens, message: String) {
        let error = Error::new_spanned(at, message);
        match &mut self.0 {
            Some(first) => first.combine(error),
            None => self.0 = Some(error),
        }
    }

    /// The type of a parameter, unless there is something wrong with it.
    fn parameter(&mut self, parameter: &FnArg, kind: &Kind) -> Option<Type> {
        match parameter {
            FnArg::Receiver(receiver) => self.add(receiver, kind.is("a free function, which takes no `self`")),
            FnArg::Typed(typed) => match &*typed.ty {
                Type::Reference(reference) => {
                    self.add(reference, "take it by value: it is read from storage. Who calls may still give a reference".to_owned());
                }
                Type::ImplTrait(anything) => self.add(anything, "name the type: what is stored is read back as this type".to_owned()),
                plain => return Some(plain.clone()),
            },
        }
        None
    }
}
