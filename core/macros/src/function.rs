//! What both attributes ask of a function, and the parts of what they write that are the same.

use proc_macro2::{Span, TokenStream};
use quote::{ToTokens as _, format_ident, quote};
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
    /// Where its `Result` stands.
    pub result_span: Span,
}

/// How errors speak of it.
pub struct Kind {
    /// `an activity`
    pub name: &'static str,
    /// A function as it should be.
    pub example: &'static str,
}

impl Function {
    /// Reads a function. All that is wrong with it is told at once.
    pub fn parse(tokens: TokenStream, kind: &Kind) -> Result<Self> {
        let item: ItemFn = syn::parse2(tokens).map_err(|e| Error::new(e.span(), kind.is("a function")))?;
        let mut problems = Problems(None);
        let sig = &item.sig;
        if sig.asyncness.is_none() {
            problems.add(sig.fn_token.span(), kind.is("an `async fn`"));
        }
        if let Some(plain) = sig.constness.map(|t| t.span()).or_else(|| sig.abi.as_ref().map(syn::spanned::Spanned::span)) {
            problems.add(plain, kind.is("a plain `async fn`, without `const` and `extern`"));
        }
        if !sig.safety.to_token_stream().is_empty() {
            problems.add(sig.safety.span(), kind.is("a safe `async fn`"));
        }
        if !sig.generics.params.is_empty() {
            let why = format!("{} has one stored name, so it cannot have generic parameters: write one function for each type", kind.name);
            problems.add(sig.generics.span(), why);
        } else if let Some(clause) = &sig.generics.where_clause {
            problems.add(clause.span(), format!("{} has no generic parameters, so it needs no `where`", kind.name));
        }
        let mut parameters = Vec::new();
        for parameter in &sig.inputs {
            match parameter {
                FnArg::Receiver(receiver) => problems.add(receiver.span(), kind.is("a free function: take no `self`")),
                FnArg::Typed(typed) => match &*typed.ty {
                    Type::Reference(reference) => {
                        problems.add(reference.span(), "take it by value: it is read from storage. The caller may still give a reference".to_owned());
                    }
                    Type::ImplTrait(anything) => problems.add(anything.span(), "name the type: what is stored is read back as this type".to_owned()),
                    plain => parameters.push(plain.clone()),
                },
            }
        }
        let output = result_type(&sig.output);
        if output.is_none() {
            let span = if matches!(sig.output, ReturnType::Default) { sig.ident.span() } else { sig.output.span() };
            problems.add(span, format!("{} returns a `Result<Output, Error>`, such as `{}`", kind.name, kind.example));
        }
        match (problems.0, output) {
            (None, Some(output)) => Ok(Self { parameters, output, result_span: sig.output.span(), item }),
            (problems, _) => Err(problems.unwrap_or_else(|| Error::new(sig.ident.span(), kind.name))),
        }
    }

    /// Its name.
    pub const fn ident(&self) -> &Ident {
        &self.item.sig.ident
    }

    /// Where its parameters stand.
    pub fn parameters_span(&self) -> Span {
        if self.item.sig.inputs.is_empty() { self.item.sig.ident.span() } else { self.item.sig.inputs.span() }
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
        let here = Span::call_site();
        let variables = self.parameters.iter().zip(variables).map(|(parameter, variable)| Ident::new(variable, here.located_at(parameter.span())));
        quote!(Self::call(#(#variables),*).await)
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

/// `Out` of `Result<Out, ..>`, whatever stands before `Result`.
fn result_type(output: &ReturnType) -> Option<Type> {
    let ReturnType::Type(_, ty) = output else { return None };
    let (name, arguments) = last_segment(ty)?;
    (name == "Result").then(|| arguments.first().copied().cloned())?
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
    fn add(&mut self, span: Span, message: String) {
        let error = Error::new(span, message);
        match &mut self.0 {
            Some(first) => first.combine(error),
            None => self.0 = Some(error),
        }
    }
}
