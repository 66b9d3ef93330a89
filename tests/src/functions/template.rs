//! Route templates of HTTP triggers, as ASP.NET Core reads them: `{p}`, `{p?}`, `{p=default}`, `{p:int}`, `{*rest}`.
//!
//! Must never: rank. Which function takes a request is decided by the order of their names alone. What this host does not play is refused when
//! the template is read, not guessed when it is used.

/// A template that has been read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Template(Vec<Segment>);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Segment {
    Literal(String),
    Parameter { optional: bool, constraints: Vec<Constraint> },
    CatchAll,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Constraint {
    Int,
    Long,
    Bool,
    Guid,
    Alpha,
    Min(i64),
    Max(i64),
    Range(i64, i64),
    Length(usize, usize),
}

impl Template {
    /// Reads a template.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let trimmed = text.trim_matches('/');
        let parts: Vec<&str> = if trimmed.is_empty() { Vec::new() } else { trimmed.split('/').collect() };
        let segments = parts.iter().map(|part| segment(part)).collect::<Result<Vec<_>, _>>()?;
        let last = segments.len().saturating_sub(1);
        for (at, segment) in segments.iter().enumerate() {
            match segment {
                Segment::CatchAll if at != last => return Err(format!("the route {text:?} goes on behind its catch-all")),
                Segment::Parameter { optional: true, .. }
                    if !segments[at..].iter().all(|later| matches!(later, Segment::Parameter { optional: true, .. } | Segment::CatchAll)) =>
                {
                    return Err(format!("the route {text:?} goes on behind an optional parameter"));
                }
                _ => {}
            }
        }
        Ok(Self(segments))
    }

    /// True if a path fits: its segments, decoded, without the app's prefix.
    pub(super) fn fits(&self, path: &[String]) -> bool {
        let mut rest = path.iter();
        for segment in &self.0 {
            match segment {
                Segment::CatchAll => return true,
                Segment::Literal(text) => match rest.next() {
                    // As .NET's OrdinalIgnoreCase: only what is one character in both cases.
                    Some(sent) if sent.to_lowercase() == *text => {}
                    _ => return false,
                },
                Segment::Parameter { optional, constraints } => match rest.next() {
                    Some(sent) if !sent.is_empty() && constraints.iter().all(|constraint| constraint.holds(sent)) => {}
                    None if *optional => {}
                    _ => return false,
                },
            }
        }
        rest.next().is_none()
    }
}

fn segment(part: &str) -> Result<Segment, String> {
    let Some(inner) = part.strip_prefix('{').and_then(|rest| rest.strip_suffix('}')) else {
        let literal = !part.contains(['{', '}', '?', '*']) && !part.is_empty();
        return if literal { Ok(Segment::Literal(part.to_lowercase())) } else { Err(format!("the route's segment {part:?} is not played here")) };
    };
    if inner.contains(['{', '}']) {
        return Err(format!("the route's segment {part:?} is not played here"));
    }
    if let Some(name) = inner.strip_prefix("**").or_else(|| inner.strip_prefix('*')) {
        return if is_name(name) { Ok(Segment::CatchAll) } else { Err(format!("the catch-all {part:?} is not played here")) };
    }
    let (inner, optional) = match inner.strip_suffix('?') {
        Some(inner) => (inner, true),
        None => (inner, false),
    };
    let (inner, defaulted) = inner.split_once('=').map_or((inner, false), |(inner, _)| (inner, true));
    let mut parts = inner.split(':');
    let name = parts.next().unwrap_or_default();
    if !is_name(name) || (optional && defaulted) {
        return Err(format!("{part:?} is no parameter of a route"));
    }
    let constraints =
        parts.map(|text| Constraint::parse(text).ok_or_else(|| format!("the constraint {text:?} is not played here"))).collect::<Result<_, _>>()?;
    Ok(Segment::Parameter { optional: optional || defaulted, constraints })
}

fn is_name(text: &str) -> bool {
    !text.is_empty() && text.chars().all(|c| c.is_alphanumeric() || c == '_')
}

impl Constraint {
    fn parse(text: &str) -> Option<Self> {
        let (name, arguments) = text.strip_suffix(')').and_then(|text| text.split_once('(')).unwrap_or((text, ""));
        let numbers: Vec<i64> = if arguments.is_empty() { Vec::new() } else { arguments.split(',').map(|n| n.trim().parse().ok()).collect::<Option<_>>()? };
        let size = |n: i64| usize::try_from(n).ok();
        Some(match (name.to_ascii_lowercase().as_str(), &numbers[..]) {
            ("int", []) => Self::Int,
            ("long", []) => Self::Long,
            ("bool", []) => Self::Bool,
            ("guid", []) => Self::Guid,
            ("alpha", []) => Self::Alpha,
            ("min", [low]) => Self::Min(*low),
            ("max", [high]) => Self::Max(*high),
            ("range", [low, high]) => Self::Range(*low, *high),
            ("length", [exact]) => Self::Length(size(*exact)?, size(*exact)?),
            ("length", [low, high]) => Self::Length(size(*low)?, size(*high)?),
            ("minlength", [low]) => Self::Length(size(*low)?, usize::MAX),
            ("maxlength", [high]) => Self::Length(0, size(*high)?),
            _ => return None,
        })
    }

    fn holds(self, text: &str) -> bool {
        let number = text.parse::<i64>();
        match self {
            Self::Int => text.parse::<i32>().is_ok(),
            Self::Long => number.is_ok(),
            Self::Bool => text.eq_ignore_ascii_case("true") || text.eq_ignore_ascii_case("false"),
            Self::Guid => is_guid(text),
            Self::Alpha => text.bytes().all(|b| b.is_ascii_alphabetic()),
            Self::Min(low) => number.is_ok_and(|n| n >= low),
            Self::Max(high) => number.is_ok_and(|n| n <= high),
            Self::Range(low, high) => number.is_ok_and(|n| (low..=high).contains(&n)),
            Self::Length(low, high) => (low..=high).contains(&text.encode_utf16().count()),
        }
    }
}

fn is_guid(text: &str) -> bool {
    let text = text.strip_prefix('{').and_then(|text| text.strip_suffix('}')).unwrap_or(text);
    let parts: Vec<&str> = text.split('-').collect();
    let sized = parts.iter().map(|part| part.len()).eq([8, 4, 4, 4, 12]) || parts.iter().map(|part| part.len()).eq([32]);
    sized && parts.iter().all(|part| part.bytes().all(|b| b.is_ascii_hexdigit()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fits(template: &str, path: &str) -> bool {
        let path: Vec<String> = path.split('/').filter(|part| !part.is_empty()).map(ToOwned::to_owned).collect();
        Template::parse(template).unwrap().fits(&path)
    }

    #[test]
    fn literals_match_in_any_case_and_parameters_take_one_segment() {
        assert!(fits("orchestrators/{name}", "Orchestrators/x"));
        assert!(!fits("orchestrators/{name}", "orchestrators"));
        assert!(!fits("orchestrators/{name}", "orchestrators/x/y"));
        assert!(fits("", ""));
    }

    #[test]
    fn an_optional_parameter_may_be_missing_and_a_catch_all_takes_the_rest_and_nothing() {
        assert!(fits("a/{b?}", "a") && fits("a/{b?}", "a/x") && !fits("a/{b?}", "a/x/y"));
        assert!(fits("a/{b=1}", "a"));
        assert!(fits("{*path}", "") && fits("{*path}", "a/b/c") && fits("a/{**path}", "a"));
        assert!(!fits("a/{*path}", "b"));
    }

    #[test]
    fn constraints_hold() {
        for (constraint, good, bad) in [
            ("int", "-7", "x"),
            ("long", "9007199254740993", "1.5"),
            ("bool", "TRUE", "yes"),
            ("guid", "24ad4c06-0d94-4b1a-9d0b-3e2a6f3c1b11", "24ad4c06"),
            ("alpha", "abc", "a1"),
            ("min(3)", "3", "2"),
            ("max(3)", "3", "4"),
            ("range(1,3)", "2", "4"),
            ("length(2)", "ab", "abc"),
            ("minlength(2)", "ab", "a"),
            ("maxlength(2)", "ab", "abc"),
        ] {
            let template = format!("{{p:{constraint}}}");
            assert!(fits(&template, good) && !fits(&template, bad), "{constraint}");
        }
    }

    #[test]
    fn what_is_not_played_is_refused() {
        for wrong in ["{*rest}/a", "{a?}/b", "{a}.{b}", "a{b}", "{a:regex(x)}", "{}", "{*}", "a//b", "{a=1?}"] {
            assert!(Template::parse(wrong).is_err(), "{wrong}");
        }
    }
}
