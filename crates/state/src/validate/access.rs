//! Somebody can always administer the control plane.

use std::sync::Arc;

use plane_model::documents::{Role, TokenKind};
use plane_model::{Code, Document, DocumentKey, Kind, Timestamp, Violation, Violations};

use crate::draft::Draft;
use crate::prepare::Touched;

/// Refuses to take the last token that administers everything, or what makes it one.
pub(crate) fn check(
    draft: &mut Draft<'_>,
    touched: &Touched,
    now: Timestamp,
    found: &mut Violations,
) {
    let base = draft.base();
    // What is new takes nothing.
    let is_taken = |key: &&DocumentKey| {
        matches!(key.kind(), Kind::Token | Kind::RoleBinding) && base.entry(key).is_some()
    };
    let Some(first) = touched.keys().find(is_taken) else {
        return;
    };
    let before = |kind| -> Vec<_> {
        let entries = base.of_kind(kind);
        entries
            .filter_map(|(_, entry)| entry.document().cloned())
            .collect()
    };
    if !has_admin(&before(Kind::Token), &before(Kind::RoleBinding), now) {
        return;
    }
    // All are read: of two that take each other's token at the same time, one is decided anew.
    let mut after = |kind| -> Vec<_> { draft.of_kind(kind).into_values().collect() };
    if !has_admin(&after(Kind::Token), &after(Kind::RoleBinding), now) {
        let pointer = touched.pointer(first);
        let detail = "no token would be left that administers everything, so nobody could make one";
        let next = "make the admin's next token first (`control-plane token create --role admin`), and do this with it";
        let pointer = pointer.trim_end_matches("/body");
        found.push(Violation::new(Code::LastAdmin, pointer, detail).next(next));
    }
}

/// Whether a token works now that may do everything everywhere.
fn has_admin(tokens: &[Arc<Document>], bindings: &[Arc<Document>], now: Timestamp) -> bool {
    tokens.iter().any(|token| {
        let Document::Token(token) = &**token else {
            return false;
        };
        let works = token.expires_at.is_none_or(|expiry| expiry > now);
        let is_wide = token.environments.is_all() && token.tenants.is_all();
        let is_bound = || {
            bindings.iter().any(|binding| match &**binding {
                Document::RoleBinding(it) => {
                    it.principal == token.principal
                        && it.role == Role::Admin
                        && it.environments.is_all()
                        && it.tenants.is_all()
                }
                _ => false,
            })
        };
        let is_admin = token.role.map_or_else(is_bound, |role| role == Role::Admin);
        works && is_wide && is_admin && token.kind != TokenKind::Client
    })
}
