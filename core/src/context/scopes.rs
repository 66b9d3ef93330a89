//! Who is to be polled: each child of a combinator has a scope, and a completion wakes only the scopes on its way to the root.
//!
//! This keeps a fan-in of 10,000 linear: a combinator polls the children that something came for, not all of them.

use std::collections::{HashMap, VecDeque};

pub(crate) type ScopeId = u32;
pub(crate) type GroupId = u32;

/// The scope of the orchestrator itself.
pub(crate) const ROOT: ScopeId = 0;

#[derive(Debug)]
struct Scope {
    group: GroupId,
    child: usize,
    queued: bool,
}

#[derive(Debug)]
struct Group {
    owner: ScopeId,
    ready: VecDeque<usize>,
    scopes: Vec<Option<ScopeId>>,
}

/// All scopes of one execution.
#[derive(Debug, Default)]
pub(crate) struct Scopes {
    current: ScopeId,
    woken: bool,
    next: u32,
    scopes: HashMap<ScopeId, Scope>,
    groups: HashMap<GroupId, Group>,
}

impl Scopes {
    pub const fn current(&self) -> ScopeId {
        self.current
    }

    pub const fn enter(&mut self, scope: ScopeId) -> ScopeId {
        std::mem::replace(&mut self.current, scope)
    }

    fn fresh(&mut self) -> u32 {
        self.next += 1;
        self.next
    }

    /// A combinator with no children yet.
    pub fn new_group(&mut self) -> GroupId {
        let id = self.fresh();
        self.groups.insert(id, Group { owner: self.current, ready: VecDeque::new(), scopes: Vec::new() });
        id
    }

    /// Adds a child, which is due to be polled.
    pub fn add_child(&mut self, group: GroupId) -> usize {
        let scope = self.fresh();
        let Some(g) = self.groups.get_mut(&group) else { return 0 };
        let child = g.scopes.len();
        g.scopes.push(Some(scope));
        g.ready.push_back(child);
        self.scopes.insert(scope, Scope { group, child, queued: true });
        child
    }

    /// The combinator is polled: it belongs to whoever polls it, and its next ready child is entered.
    pub fn next_ready(&mut self, group: GroupId) -> Option<(usize, ScopeId)> {
        let current = self.current;
        let g = self.groups.get_mut(&group)?;
        g.owner = current;
        while let Some(child) = g.ready.pop_front() {
            if let Some(scope) = g.scopes.get(child).copied().flatten()
                && let Some(s) = self.scopes.get_mut(&scope)
            {
                s.queued = false;
                return Some((child, scope));
            }
        }
        None
    }

    pub fn end_child(&mut self, group: GroupId, child: usize) {
        if let Some(scope) = self.groups.get_mut(&group).and_then(|g| g.scopes.get_mut(child)).and_then(Option::take) {
            self.scopes.remove(&scope);
        }
    }

    pub fn end_group(&mut self, group: GroupId) {
        if let Some(g) = self.groups.remove(&group) {
            for scope in g.scopes.into_iter().flatten() {
                self.scopes.remove(&scope);
            }
        }
    }

    /// Something came for this scope: it, and all combinators above it, are due to be polled.
    pub fn wake(&mut self, mut scope: ScopeId) {
        while scope != ROOT {
            let Some(s) = self.scopes.get_mut(&scope) else {
                // Its combinator is gone, and with it whoever waited there: let the root look.
                break;
            };
            if s.queued {
                // The way up is marked already, except that the root may have been polled since.
                self.woken = true;
                return;
            }
            s.queued = true;
            let (group, child) = (s.group, s.child);
            let Some(g) = self.groups.get_mut(&group) else { break };
            g.ready.push_back(child);
            scope = g.owner;
        }
        self.woken = true;
    }

    pub const fn take_woken(&mut self, _root: ScopeId) -> bool {
        std::mem::replace(&mut self.woken, false)
    }
}
