//! The arguments of the attributes.

use proc_macro2::{Span, TokenStream, TokenTree};
use quote::{ToTokens as _, quote};
use syn::meta::ParseNestedMeta;
use syn::parse::Parser as _;
use syn::{Error, Lit, LitFloat, LitInt, LitStr, Result, Token};

use crate::duration::Millis;

const OF_ACTIVITIES: &str = "an activity takes `name = \"..\"`, `retry(first = \"1s\", attempts = 5)` and `attempt_timeout = \"30s\"`";
const OF_ORCHESTRATORS: &str = "an orchestrator takes `name = \"..\"` and `version = \"..\"`";

/// `#[activity(..)]`
#[derive(Default)]
pub struct ActivityArgs {
    pub name: Option<LitStr>,
    pub retry: Option<Retry>,
    pub attempt_timeout: Option<Millis>,
}

/// `#[orchestrator(..)]`
#[derive(Default)]
pub struct OrchestratorArgs {
    pub name: Option<LitStr>,
    pub version: Option<LitStr>,
}

/// `retry(..)`
pub struct Retry {
    first: Millis,
    attempts: u32,
    factor: Option<f64>,
    cap: Option<Millis>,
    jitter: Option<f64>,
    except: Vec<LitStr>,
}

impl ActivityArgs {
    pub fn parse(tokens: TokenStream) -> Result<Self> {
        let mut args = Self::default();
        let parser = syn::meta::parser(|meta| match key(&meta).as_str() {
            "name" => once(&mut args.name, &meta, text),
            "retry" => once(&mut args.retry, &meta, Retry::parse),
            "attempt_timeout" => once(&mut args.attempt_timeout, &meta, time_above_zero),
            _ => Err(meta.error(OF_ACTIVITIES)),
        });
        parser.parse2(named(tokens, OF_ACTIVITIES)?)?;
        Ok(args)
    }
}

impl OrchestratorArgs {
    pub fn parse(tokens: TokenStream) -> Result<Self> {
        let mut args = Self::default();
        let parser = syn::meta::parser(|meta| match key(&meta).as_str() {
            "name" => once(&mut args.name, &meta, text),
            "version" => once(&mut args.version, &meta, text),
            _ => Err(meta.error(OF_ORCHESTRATORS)),
        });
        parser.parse2(named(tokens, OF_ORCHESTRATORS)?)?;
        Ok(args)
    }
}

impl Retry {
    fn parse(meta: &ParseNestedMeta<'_>) -> Result<Self> {
        let at = span(meta);
        if !meta.input.peek(syn::token::Paren) {
            return Err(Error::new(at, "write `retry(first = \"1s\", attempts = 5)`"));
        }
        let (mut first, mut attempts, mut factor, mut cap, mut jitter, mut except) = (None, None, None, None, None, None);
        meta.parse_nested_meta(|meta| match key(&meta).as_str() {
            "first" => once(&mut first, &meta, time),
            "attempts" => once(&mut attempts, &meta, count),
            "factor" => once(&mut factor, &meta, |meta| number(meta, 0.0..=f64::MAX, "`factor` is a number such as 2.0")),
            "cap" => once(&mut cap, &meta, time),
            "jitter" => once(&mut jitter, &meta, |meta| number(meta, 0.0..=1.0, "`jitter` is a share from 0.0 to 1.0")),
            "except" => once(&mut except, &meta, kinds),
            _ => Err(meta.error("`retry` takes `first`, `attempts`, `factor`, `cap`, `jitter` and `except`")),
        })?;
        let (Some(first), Some(attempts)) = (first, attempts) else {
            return Err(Error::new(at, "`retry` needs `first` and `attempts`: write `retry(first = \"1s\", attempts = 5)`"));
        };
        Ok(Self { first, attempts, factor, cap, jitter, except: except.unwrap_or_default() })
    }

    /// The expression of this policy.
    pub fn expression(&self) -> TokenStream {
        let (first, attempts, except) = (self.first.expression(), self.attempts, &self.except);
        let factor = self.factor.map(|factor| quote!(.factor(#factor)));
        let cap = self.cap.map(Millis::expression).map(|cap| quote!(.cap(#cap)));
        let jitter = self.jitter.map(|jitter| quote!(.jitter(#jitter)));
        let except = (!except.is_empty()).then(|| quote!(.except([#(#except),*])));
        quote!(::durable::RetryPolicy::exponential(#first, #attempts) #factor #cap #jitter #except)
    }
}

/// The arguments, if they begin with a name and not with a value.
fn named(tokens: TokenStream, instead: &str) -> Result<TokenStream> {
    match tokens.clone().into_iter().next() {
        Some(TokenTree::Literal(value)) => Err(Error::new(value.span(), instead)),
        _ => Ok(tokens),
    }
}

/// Fills a slot, the first time.
fn once<T>(slot: &mut Option<T>, meta: &ParseNestedMeta<'_>, read: impl FnOnce(&ParseNestedMeta<'_>) -> Result<T>) -> Result<()> {
    if slot.is_some() {
        return Err(Error::new(span(meta), format!("`{}` is given twice", key(meta))));
    }
    *slot = Some(read(meta)?);
    Ok(())
}

fn key(meta: &ParseNestedMeta<'_>) -> String {
    meta.path.get_ident().map(ToString::to_string).unwrap_or_default()
}

fn span(meta: &ParseNestedMeta<'_>) -> Span {
    meta.path.get_ident().map_or_else(Span::call_site, syn::Ident::span)
}

/// The literal behind `=`, and what to write if there is none.
fn literal(meta: &ParseNestedMeta<'_>, instead: &str) -> Result<Lit> {
    if !meta.input.peek(Token![=]) {
        return Err(Error::new(span(meta), instead));
    }
    meta.input.parse::<Token![=]>()?;
    meta.input.parse().map_err(|e| Error::new(e.span(), instead))
}

fn text(meta: &ParseNestedMeta<'_>) -> Result<LitStr> {
    let instead = format!("write `{} = \"..\"`", key(meta));
    match literal(meta, &instead)? {
        Lit::Str(text) if !text.value().is_empty() => Ok(text),
        other => Err(Error::new(other.span(), instead)),
    }
}

fn time(meta: &ParseNestedMeta<'_>) -> Result<Millis> {
    let instead = format!("write a time as text, such as `{} = \"30s\"`", key(meta));
    match literal(meta, &instead)? {
        Lit::Str(text) => Millis::of(&text),
        other => Err(Error::new(other.span(), instead)),
    }
}

fn time_above_zero(meta: &ParseNestedMeta<'_>) -> Result<Millis> {
    match time(meta)? {
        Millis(0) => Err(Error::new(span(meta), format!("with `{}` of zero no attempt could succeed", key(meta)))),
        time => Ok(time),
    }
}

fn count(meta: &ParseNestedMeta<'_>) -> Result<u32> {
    let instead = "`attempts` is a whole number from 1: the first attempt counts";
    let literal = literal(meta, instead)?;
    let number = if let Lit::Int(number) = &literal { LitInt::base10_parse(number).ok() } else { None };
    number.filter(|n| *n > 0).ok_or_else(|| Error::new(literal.span(), instead))
}

fn number(meta: &ParseNestedMeta<'_>, allowed: std::ops::RangeInclusive<f64>, instead: &str) -> Result<f64> {
    let literal = literal(meta, instead)?;
    let number = match &literal {
        Lit::Float(number) => LitFloat::base10_parse(number).ok(),
        Lit::Int(number) => LitInt::base10_parse(number).ok(),
        _ => None,
    };
    number.filter(|n| allowed.contains(n)).ok_or_else(|| Error::new(literal.span(), instead))
}

fn kinds(meta: &ParseNestedMeta<'_>) -> Result<Vec<LitStr>> {
    let instead = "write the names of error types: `except = [\"CardDeclined\"]`";
    if !meta.input.peek(Token![=]) {
        return Err(Error::new(span(meta), instead));
    }
    meta.input.parse::<Token![=]>()?;
    let list: syn::ExprArray = meta.input.parse().map_err(|e| Error::new(e.span(), instead))?;
    let kind = |e: syn::Expr| syn::parse2::<LitStr>(e.to_token_stream()).map_err(|e| Error::new(e.span(), instead));
    list.elems.into_iter().map(kind).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(tokens: TokenStream) -> String {
        ActivityArgs::parse(tokens).err().map(|e| e.to_string()).unwrap_or_default()
    }

    #[test]
    fn all_arguments_are_read() {
        let args = ActivityArgs::parse(quote! {
            name = "x", retry(first = "1s", attempts = 5, factor = 2, cap = "1m", jitter = 0.2, except = ["A", "B"]), attempt_timeout = "30s",
        });
        let args = args.unwrap();
        assert_eq!(args.name.unwrap().value(), "x");
        assert_eq!(args.attempt_timeout, Some(Millis(30_000)));
        let written = args.retry.unwrap().expression().to_string().replace(' ', "");
        assert!(written.contains("exponential(::core::time::Duration::from_millis(1000u64),5u32).factor(2f64)"), "{written}");
        assert!(written.ends_with(".cap(::core::time::Duration::from_millis(60000u64)).jitter(0.2f64).except([\"A\",\"B\"])"), "{written}");
    }

    #[test]
    fn a_mistake_is_answered_with_what_to_write() {
        assert!(refusal(quote!(retries = 5)).contains("an activity takes"));
        assert!(refusal(quote!(name = "")).contains("name = \"..\""));
        assert!(refusal(quote!(name)).contains("name = \"..\""));
        assert!(refusal(quote!(name = "a", name = "b")).contains("given twice"));
        assert!(refusal(quote!(retry = 5)).contains("retry(first"));
        assert!(refusal(quote!(retry(first = "1s"))).contains("needs"));
        assert!(refusal(quote!(retry(first = 1, attempts = 2))).contains("first = \"30s\""));
        assert!(refusal(quote!(retry(first = "1s", attempts = 0))).contains("from 1"));
        assert!(refusal(quote!(retry(first = "1s", attempts = 2, jitter = 1.5))).contains("0.0 to 1.0"));
        assert!(refusal(quote!(retry(first = "1s", attempts = 2, except = [A]))).contains("names of error types"));
        assert!(refusal(quote!(attempt_timeout = "0s")).contains("zero"));
    }
}
