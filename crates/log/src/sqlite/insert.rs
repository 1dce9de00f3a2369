//! How what a commit brings is stored in the tables.

use std::sync::Arc;

use rusqlite::{Connection, params};

use super::schema::{Digest, Revision, facet_number};
use crate::{Blob, Entry, Facet};

/// Stores entries in the tables, all but their blobs; tree by tree and in its order, so that neighbours share pages.
pub(crate) fn insert(db: &Connection, entries: &[Arc<Entry>]) -> rusqlite::Result<()> {
    insert_entries(db, entries)?;
    insert_bodies(db, entries)?;
    insert_facets(db, entries)?;
    insert_changes(db, entries)
}

fn insert_entries(db: &Connection, entries: &[Arc<Entry>]) -> rusqlite::Result<()> {
    let mut statement = db.prepare_cached(
        "INSERT INTO entry (revision, parent, hash, id, request, at_ms, record)
         VALUES (?, ?, ?, ?, ?, ?, ?)",
    )?;
    for entry in entries {
        statement.execute(params![
            Revision(entry.revision),
            Digest(entry.parent),
            Digest(entry.hash),
            entry.id,
            Digest(entry.request),
            entry.at_ms,
            &*entry.record
        ])?;
    }
    Ok(())
}

fn insert_bodies(db: &Connection, entries: &[Arc<Entry>]) -> rusqlite::Result<()> {
    let mut statement = db.prepare_cached(
        "INSERT INTO body (digest, salt, bytes) VALUES (?, ?, ?) ON CONFLICT (digest)
         DO UPDATE SET salt = excluded.salt, bytes = excluded.bytes WHERE bytes IS NULL",
    )?;
    let mut bodies: Vec<_> = entries.iter().flat_map(|entry| &entry.bodies).collect();
    bodies.sort_by_key(|body| body.digest);
    for body in bodies {
        statement.execute(params![
            Digest(body.digest),
            body.salt.as_slice(),
            &*body.bytes
        ])?;
    }
    Ok(())
}

pub(crate) fn insert_blobs(db: &Connection, blobs: &[Blob]) -> rusqlite::Result<()> {
    let mut statement = db.prepare_cached(
        "INSERT INTO blob (digest, bytes) VALUES (?, ?) ON CONFLICT (digest)
         DO UPDATE SET bytes = excluded.bytes WHERE bytes IS NULL",
    )?;
    for blob in blobs {
        statement.execute(params![Digest(blob.digest), &*blob.bytes])?;
    }
    Ok(())
}

fn insert_facets(db: &Connection, entries: &[Arc<Entry>]) -> rusqlite::Result<()> {
    let mut statement =
        db.prepare_cached("INSERT INTO facet (facet, value, revision) VALUES (?, ?, ?)")?;
    let mut facets: Vec<(i64, &str, u64)> = Vec::new();
    for entry in entries {
        let mut add =
            |facet: Facet, value| facets.push((facet_number(facet), value, entry.revision));
        add(Facet::Actor, entry.actor.as_str());
        add(Facet::Action, entry.action.as_str());
        for tenant in &entry.tenants {
            add(Facet::Tenant, tenant);
        }
        for change in &entry.changes {
            add(Facet::Kind, &change.key.kind);
        }
    }
    facets.sort_unstable();
    facets.dedup();
    for (facet, value, revision) in facets {
        statement.execute(params![facet, value, Revision(revision)])?;
    }
    Ok(())
}

fn insert_changes(db: &Connection, entries: &[Arc<Entry>]) -> rusqlite::Result<()> {
    let mut statement = db.prepare_cached(
        "INSERT OR REPLACE INTO change (kind, scope, name, revision, blob, digest)
         VALUES (?, ?, ?, ?, ?, ?)",
    )?;
    let mut changes: Vec<_> = entries
        .iter()
        .flat_map(|entry| entry.changes.iter().map(|change| (change, entry.revision)))
        .collect();
    // Stable: of several changes of a document in one entry the last one stands.
    changes.sort_by(|(a, at), (b, bt)| (&a.key, at).cmp(&(&b.key, bt)));
    for (change, revision) in changes {
        let blob = change
            .digest
            .map(|digest| matches!(digest, crate::DigestRef::Blob(_)));
        let digest = change.digest.map(|digest| Digest(digest.hash()));
        let key = &change.key;
        let revision = Revision(revision);
        statement.execute(params![
            key.kind, key.scope, key.name, revision, blob, digest
        ])?;
    }
    Ok(())
}
