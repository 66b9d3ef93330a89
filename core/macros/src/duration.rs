//! Times as people write them: `"250ms"`, `"30s"`, `"5m"`, `"2h"`, `"1d"`.

use proc_macro2::TokenStream;
use quote::quote;
use syn::{LitStr, Result};

/// A time, in milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Millis(pub u64);

impl Millis {
    /// Reads a literal.
    pub fn of(literal: &LitStr) -> Result<Self> {
        let text = literal.value();
        read(&text).map(Self).ok_or_else(|| {
            syn::Error::new(literal.span(), format!("`{text}` is not a time: write a whole number and ms, s, m, h or d, such as \"250ms\" or \"30s\""))
        })
    }

    /// The expression of this time.
    pub fn expression(self) -> TokenStream {
        let Self(ms) = self;
        quote!(::core::time::Duration::from_millis(#ms))
    }
}

fn read(text: &str) -> Option<u64> {
    let unit_at = text.find(|c: char| !c.is_ascii_digit())?;
    let (number, unit) = text.split_at(unit_at);
    let unit_ms = match unit {
        "ms" => 1,
        "s" => 1000,
        "m" => 60 * 1000,
        "h" => 60 * 60 * 1000,
        "d" => 24 * 60 * 60 * 1000,
        _ => return None,
    };
    number.parse::<u64>().ok()?.checked_mul(unit_ms)
}

#[cfg(test)]
mod tests {
    use super::read;

    #[test]
    fn each_unit_is_read() {
        assert_eq!(["250ms", "30s", "5m", "2h", "1d"].map(read), [250, 30_000, 300_000, 7_200_000, 86_400_000].map(Some));
    }

    #[test]
    fn what_is_no_time_or_too_long_is_refused() {
        for text in ["", "5", "s", "1.5s", "-1s", "5 s", "1w", "99999999999999999999d", "18446744073709551615d"] {
            assert_eq!(read(text), None, "{text}");
        }
    }
}
