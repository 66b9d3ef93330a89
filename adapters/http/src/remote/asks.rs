//! What can be asked of a server elsewhere, beyond an id: options of starts, of what is shown, and filters.

use durable::header::RuntimeStatus;

/// How an instance is started.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct StartOptions {
    /// Under this id; a generated one if none.
    pub id: Option<String>,
    /// In this version; the latest if none.
    pub version: Option<String>,
}

/// What a status shows beyond the state.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Show {
    /// The input.
    pub input: bool,
    /// The history.
    pub history: bool,
    /// In the history, the results of activities and sub-orchestrations.
    pub history_output: bool,
}

/// Which instances: those for which everything holds that is given. Times are in RFC 3339.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Filter {
    /// The id begins so.
    pub prefix: Option<String>,
    /// Created at this time or later.
    pub created_from: Option<String>,
    /// Created at this time or earlier.
    pub created_to: Option<String>,
    /// In one of these states; any if none is given.
    pub status: Vec<RuntimeStatus>,
    /// With their inputs.
    pub show_input: bool,
    /// So many on a page; the server's choice if none.
    pub top: Option<usize>,
}

pub(super) type Pairs = Vec<(&'static str, String)>;

impl Show {
    pub(super) fn pairs(self) -> Pairs {
        vec![("showInput", self.input.to_string()), ("showHistory", self.history.to_string()), ("showHistoryOutput", self.history_output.to_string())]
    }
}

impl Filter {
    /// What selects, without what is shown of it.
    pub(super) fn selection(&self) -> Pairs {
        let mut pairs = Pairs::new();
        let mut push = |name, value: Option<&String>| pairs.extend(value.map(|value| (name, value.clone())));
        push("instanceIdPrefix", self.prefix.as_ref());
        push("createdTimeFrom", self.created_from.as_ref());
        push("createdTimeTo", self.created_to.as_ref());
        if !self.status.is_empty() {
            let names: Vec<&str> = self.status.iter().map(|status| status.name()).collect();
            pairs.push(("runtimeStatus", names.join(",")));
        }
        pairs
    }

    pub(super) fn pairs(&self) -> Pairs {
        let mut pairs = self.selection();
        pairs.push(("showInput", self.show_input.to_string()));
        pairs.extend(self.top.map(|top| ("top", top.to_string())));
        pairs
    }
}
