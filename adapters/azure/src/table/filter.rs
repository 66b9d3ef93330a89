//! Which rows a query is for: by ranges of keys only, for nothing else is looked up without reading all that lies between.

use std::fmt;

/// A condition on keys. Without any, it is for all rows.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Filter(Vec<String>);

impl Filter {
    /// Rows of this partition.
    #[must_use]
    pub fn partition(key: &str) -> Self {
        Self(vec![compare("PartitionKey", "eq", key)])
    }

    /// Rows of partitions behind this one, up to that one.
    #[must_use]
    pub fn partitions_behind(key: &str, last: &str) -> Self {
        Self(vec![compare("PartitionKey", "gt", key), compare("PartitionKey", "le", last)])
    }

    /// Only rows from this key on.
    #[must_use]
    pub fn from(self, row: &str) -> Self {
        self.and("ge", row)
    }

    /// Only rows behind this key.
    #[must_use]
    pub fn behind(self, row: &str) -> Self {
        self.and("gt", row)
    }

    /// Only rows before this key.
    #[must_use]
    pub fn before(self, row: &str) -> Self {
        self.and("lt", row)
    }

    fn and(mut self, operator: &str, row: &str) -> Self {
        self.0.push(compare("RowKey", operator, row));
        self
    }
}

impl fmt::Display for Filter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.join(" and "))
    }
}

fn compare(what: &str, operator: &str, key: &str) -> String {
    format!("{what} {operator} '{}'", key.replace('\'', "''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotes_are_doubled() {
        let filter = Filter::partition("it's").from("h").before("n");
        assert_eq!(filter.to_string(), "PartitionKey eq 'it''s' and RowKey ge 'h' and RowKey lt 'n'");
        let filter = Filter::partitions_behind("a", "b").behind("x");
        assert_eq!(filter.to_string(), "PartitionKey gt 'a' and PartitionKey le 'b' and RowKey gt 'x'");
    }
}
