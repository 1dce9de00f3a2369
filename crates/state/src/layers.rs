//! Where the layers of configuration are, without passing over those of all tenants.

use plane_model::{Kind, TenantId};

use crate::state::State;

/// What the last part of a tenant's config layer begins with; nothing else in a selector contains it.
const TENANT: &str = "tenant=";
/// What comes after all layers of tenants with the same prefix.
const AFTER_TENANTS: &str = "tenant>";
/// What comes after all documents of a scope.
const AFTER_SCOPE: &str = "\u{1}";

/// Where there are config layers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum LayerPlace<'s> {
    /// A scope that is no tenant's.
    Shared(&'s str),
    /// The scopes of tenants that begin with this.
    Tenants(&'s str),
}

impl LayerPlace<'_> {
    /// The scope of a tenant's layers there; none where there are none of tenants.
    pub(crate) fn of(self, tenant: &TenantId) -> Option<String> {
        match self {
            Self::Shared(_) => None,
            Self::Tenants(prefix) => Some(format!("{prefix}{TENANT}{tenant}")),
        }
    }
}

impl State {
    /// Where there are config layers, in the order of their keys.
    ///
    /// Each is one search of the keys, however many tenants have layers there.
    pub(crate) fn layer_places(&self) -> impl Iterator<Item = LayerPlace<'_>> {
        let mut from = String::new();
        std::iter::from_fn(move || {
            let (key, _) = self.from(Kind::Config, &from, "").next()?;
            let (place, after) = match key.scope().split_once(TENANT) {
                Some((prefix, _)) => (LayerPlace::Tenants(prefix), [prefix, AFTER_TENANTS]),
                None => (LayerPlace::Shared(key.scope()), [key.scope(), AFTER_SCOPE]),
            };
            from = after.concat();
            Some(place)
        })
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use std::sync::Arc;

    use plane_model::{Digest, DocumentKey};

    use super::*;
    use crate::record::BodyRef;
    use crate::state::{Content, Entry};

    /// A state with these documents, of which nobody knows what they say.
    pub(crate) fn state_of(keys: Vec<DocumentKey>) -> State {
        let entry = Arc::new(Entry {
            revision: 1,
            body: BodyRef::Salted(Digest::of(b"")),
            bytes: Arc::default(),
            content: Content::Erased,
            managed: false,
        });
        let mut keys = keys;
        keys.sort();
        let mut state = State::genesis("test");
        state.fill(keys.into_iter().map(|key| (key, entry.clone())).collect());
        state
    }

    fn layer(scope: &str, name: &str) -> DocumentKey {
        DocumentKey::new(Kind::Config, scope, name).unwrap()
    }

    #[test]
    fn each_place_of_layers_is_told_once_however_many_tenants_are_there() {
        let mut keys = vec![
            layer("base", "ai"),
            layer("base", "limits"),
            layer("production", "ai"),
            layer("production.plan=free", "ai"),
            layer("region=eu", "ai"),
            layer("staging.tenant=a.tenant=b", "ai"),
            DocumentKey::new(Kind::Tenant, "", "t0").unwrap(),
        ];
        for tenant in 0..200 {
            keys.push(layer(&format!("production.tenant=t{tenant}"), "ai"));
            keys.push(layer(
                &format!("production.plan=free.tenant=t{tenant}"),
                "ai",
            ));
            keys.push(layer(&format!("tenant=t{tenant}"), "limits"));
        }
        let state = state_of(keys);
        let places: Vec<_> = state.layer_places().collect();
        assert_eq!(
            places,
            [
                LayerPlace::Shared("base"),
                LayerPlace::Shared("production"),
                LayerPlace::Shared("production.plan=free"),
                LayerPlace::Tenants("production.plan=free."),
                LayerPlace::Tenants("production."),
                LayerPlace::Shared("region=eu"),
                LayerPlace::Tenants("staging."),
                LayerPlace::Tenants(""),
            ]
        );
        let tenant = TenantId::new("t7").unwrap();
        let scopes: Vec<_> = places.iter().filter_map(|it| it.of(&tenant)).collect();
        assert_eq!(
            scopes,
            [
                "production.plan=free.tenant=t7",
                "production.tenant=t7",
                "staging.tenant=t7",
                "tenant=t7",
            ]
        );
    }

    #[test]
    fn there_is_no_place_without_layers() {
        let state = state_of(vec![DocumentKey::new(Kind::Flag, "", "f").unwrap()]);
        assert_eq!(state.layer_places().next(), None);
    }
}
