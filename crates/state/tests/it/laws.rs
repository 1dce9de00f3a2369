//! What holds for every log.

use std::sync::Arc;

use plane_model::{Digest, DocumentKey, Kind};
use plane_state::{
    Action, BodyRef, Expect, Head, Record, State, checkpoint, revert, revert::Filter,
};
use proptest::prelude::*;
use serde_json::json;

use crate::world::{Store, World, delete, put};

/// A step that somebody might take; refused ones leave no trace.
#[derive(Debug, Clone)]
enum Step {
    Flag(u8, bool),
    Percent(u8, u32),
    Segment(u8, u8),
    Config(u8, u8),
    Pin(u8, bool),
    Kill(u8),
    Revive(u8),
    DropSegment(u8),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        (0..4_u8, any::<bool>()).prop_map(|(name, archived)| Step::Flag(name, archived)),
        (0..4_u8, 0..=100_u32).prop_map(|(name, percent)| Step::Percent(name, percent)),
        (0..3_u8, any::<u8>()).prop_map(|(name, id)| Step::Segment(name, id)),
        (0..3_u8, any::<u8>()).prop_map(|(layer, value)| Step::Config(layer, value)),
        (0..4_u8, any::<bool>()).prop_map(|(name, on)| Step::Pin(name, on)),
        (0..4_u8).prop_map(Step::Kill),
        (0..4_u8).prop_map(Step::Revive),
        (0..3_u8).prop_map(Step::DropSegment),
    ]
}

fn take(world: &mut World, step: &Step) {
    let (action, op) = match step {
        Step::Flag(name, archived) => (
            Action::Write,
            put(
                Kind::Flag,
                "",
                &format!("f{name}"),
                json!({"type": "boolean", "archived": archived}),
            ),
        ),
        Step::Percent(name, percent) => (
            Action::Write,
            put(
                Kind::Targeting,
                "production",
                &format!("f{name}"),
                json!({"state": "enabled", "default": {"percent": {"on": percent}}}),
            ),
        ),
        Step::Segment(name, id) => (
            Action::Apply,
            put(
                Kind::Segment,
                "",
                &format!("s{name}"),
                json!({"include": [format!("u{id}")]}),
            ),
        ),
        Step::Config(layer, value) => (
            Action::Write,
            put(
                Kind::Config,
                ["base", "production", "staging"][usize::from(*layer)],
                "app",
                json!({"value": value}),
            ),
        ),
        Step::Pin(name, on) => (
            Action::Write,
            put(
                Kind::Pin,
                "production/tenant123",
                &format!("flag:f{name}"),
                json!({"variant": if *on { "on" } else { "off" }}),
            ),
        ),
        Step::Kill(name) => (
            Action::Kill,
            put(
                Kind::Kill,
                "production",
                &format!("flag:f{name}"),
                json!({"reason": "why"}),
            ),
        ),
        Step::Revive(name) => (
            Action::Revive,
            delete(Kind::Kill, "production", &format!("flag:f{name}")),
        ),
        Step::DropSegment(name) => (
            Action::Write,
            delete(Kind::Segment, "", &format!("s{name}")),
        ),
    };
    // Refused steps are part of the game: they must leave no trace.
    drop(world.give(action, vec![op]));
}

fn take_all(world: &mut World, steps: &[Step]) {
    for step in steps {
        take(world, step);
    }
}

fn replay(world: &World, state: State) -> State {
    let from = usize::try_from(state.head().revision).unwrap();
    world.records[from..].iter().fold(state, |state, sealed| {
        state
            .apply(
                sealed.record.revision,
                sealed.hash,
                &sealed.bytes,
                &world.store,
            )
            .0
    })
}

fn same(a: &State, b: &State) -> Result<(), TestCaseError> {
    prop_assert_eq!(a.head(), b.head());
    prop_assert_eq!(a.digest(), b.digest());
    prop_assert!(a.entries().eq(b.entries()));
    prop_assert_eq!(a.anomalies(), b.anomalies());
    for kind in Kind::ALL {
        prop_assert_eq!(a.kind_revision(*kind), b.kind_revision(*kind));
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn the_same_records_give_the_same_state(steps in prop::collection::vec(step(), 0..40)) {
        let mut world = World::platform();
        take_all(&mut world, &steps);
        same(&replay(&world, State::genesis("test")), &world.state)?;
    }

    #[test]
    fn a_checkpoint_and_the_tail_give_what_a_full_replay_gives(
        steps in prop::collection::vec(step(), 0..40), at in 0..40_usize,
    ) {
        let mut world = World::platform();
        let mut stored = None;
        for (index, step) in steps.iter().enumerate() {
            if index == at {
                stored = Some(checkpoint::encode(&world.state));
            }
            take(&mut world, step);
        }
        let bytes = stored.unwrap_or_else(|| checkpoint::encode(&world.state));
        let blob = |digest: &Digest| world.store.blobs.get(digest).cloned();
        let state = checkpoint::decode(&bytes, &blob).unwrap();
        prop_assert_eq!(checkpoint::encode(&state), bytes);
        same(&replay(&world, state), &world.state)?;
    }

    #[test]
    fn a_record_is_read_back_as_it_was_written(steps in prop::collection::vec(step(), 0..20)) {
        let mut world = World::platform();
        take_all(&mut world, &steps);
        for sealed in &world.records {
            let read = Record::decode(&sealed.bytes);
            prop_assert_eq!(read.as_ref(), Ok(&sealed.record));
        }
    }

    #[test]
    fn whatever_the_bytes_the_fold_goes_on(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let world = World::platform();
        let (state, applied) = world.state.apply(2, Digest::of(&bytes), &bytes, &Store::default());
        prop_assert_eq!(state.head().revision, 2);
        prop_assert_eq!(applied.anomalies.len(), 1);
        prop_assert!(state.entries().eq(world.state.entries()));
    }

    #[test]
    fn a_damaged_checkpoint_is_never_taken_for_a_state(
        steps in prop::collection::vec(step(), 1..20), at in any::<prop::sample::Index>(), bit in 0..8_u32,
    ) {
        let mut world = World::platform();
        take_all(&mut world, &steps);
        let mut bytes = checkpoint::encode(&world.state);
        let index = at.index(bytes.len());
        bytes[index] ^= 1 << bit;
        // Its digest is checked before; what passes that must still never panic.
        drop(checkpoint::decode(&bytes, &|digest| world.store.blobs.get(digest).cloned()));
    }

    #[test]
    fn reverting_everything_since_gives_the_documents_of_then(
        before in prop::collection::vec(step(), 0..12), after in prop::collection::vec(step(), 1..12),
    ) {
        let mut world = World::platform();
        take_all(&mut world, &before);
        let then = world.state.clone();
        let from = world.records.len();
        take_all(&mut world, &after);
        let records: Vec<_> = world.records[from..].iter().map(|it| it.record.clone()).collect();
        let Ok(found) = revert::revert(&world.state, &then, &records, &Filter::default()) else {
            return Ok(());
        };
        // What it deletes may still be in use by what is excluded: then the commit says so.
        if world.give(Action::Revert, found.ops).is_ok() {
            for (key, entry) in then.entries().filter(|(key, _)| key.kind() != Kind::Kill) {
                prop_assert_eq!(
                    world.state.entry(key).map(plane_state::Entry::content_digest),
                    Some(entry.content_digest())
                );
            }
        }
    }
}

#[test]
fn an_erased_body_breaks_only_its_own_document() {
    let mut world = World::platform();
    world
        .write(vec![put(Kind::Flag, "", "a", json!({"type": "boolean"}))])
        .unwrap();
    let body = world.records[1].record.ops[0].digest.unwrap();
    world.store.bodies.remove(&body);
    let state = replay(&world, State::genesis("test"));
    assert_eq!(state.digest(), world.state.digest());
    assert_eq!(state.anomalies(), 1);
    assert_eq!(
        state
            .entries()
            .filter(|(_, entry)| entry.document().is_none())
            .count(),
        1
    );
}

/// Bytes that are there and are not the ones that were named.
struct Damaged;

impl plane_state::Bodies for Damaged {
    fn body(&self, _: &plane_state::BodyRef) -> Option<Arc<[u8]>> {
        None
    }

    fn is_damaged(&self, _: &plane_state::BodyRef) -> bool {
        true
    }

    fn blob(&self, _: &Digest) -> Option<Arc<[u8]>> {
        None
    }
}

#[test]
fn a_damaged_body_is_not_taken_for_an_erased_one() {
    let world = World::platform();
    let record = &world.records[0];
    let (state, applied) = State::genesis("test").apply(1, record.hash, &record.bytes, &Damaged);
    assert!(!state.is_empty());
    assert_eq!(applied.anomalies.len(), state.len());
    for (key, entry) in state.entries() {
        let plane_state::Content::Unreadable(detail) = &entry.content else {
            panic!("{key}: {:?}", entry.content)
        };
        assert!(detail.contains("is damaged"), "{detail}");
    }
}

#[test]
fn a_record_with_a_kind_of_a_later_version_is_carried() {
    let world = World::platform();
    let record = String::from_utf8(world.records[0].bytes.to_vec()).unwrap();
    let later = record.replace("\"trust\"", "\"treaty\"");
    let (state, applied) =
        State::genesis("test").apply(1, Digest::of(b""), later.as_bytes(), &world.store);
    assert_eq!(applied.anomalies.len(), 1);
    assert_eq!(state.len(), world.state.len() - 1);
    let blob = |digest: &Digest| world.store.blobs.get(digest).cloned();
    let read = checkpoint::decode(&checkpoint::encode(&state), &blob).unwrap();
    assert_eq!(read.digest(), state.digest());
}

#[test]
fn a_decision_holds_only_while_nothing_that_it_read_has_changed() {
    let mut world = World::platform();
    world
        .write(vec![put(Kind::Flag, "", "a", json!({"type": "boolean"}))])
        .unwrap();
    let mut op = put(
        Kind::Targeting,
        "production",
        "a",
        json!({"state": "enabled", "off": "on"}),
    );
    op.expect = Expect::Absent;
    let command = world.command(Action::Write, vec![op]);
    let prepared = plane_state::prepare(&world.state, &command.into(), crate::world::NOW).unwrap();
    world
        .write(vec![put(Kind::Segment, "", "unrelated", json!({}))])
        .unwrap();
    assert_eq!(
        plane_state::admit(&world.state, &prepared),
        plane_state::Admission::Admitted
    );
    let variants = json!({"type": "boolean", "variants": {"yes": true}});
    world
        .write(vec![put(Kind::Flag, "", "a", variants)])
        .unwrap();
    assert_eq!(
        plane_state::admit(&world.state, &prepared),
        plane_state::Admission::Stale
    );
}

#[test]
fn a_checkpoint_of_many_parts_is_read_back_in_any_order_of_reading() {
    let documents = (0..20_000).map(|index| {
        let key = DocumentKey::new(Kind::Tenant, "", &format!("n{index:05}")).unwrap();
        (key, index, BodyRef::Salted(Digest::of(b"erased")))
    });
    let nothing = State::genesis("test");
    let state = State::assemble(Head::genesis(), documents, &nothing, &Store::default());
    let bytes = checkpoint::encode(&state);
    let opened = checkpoint::open(&bytes).unwrap();
    assert!(opened.parts().len() > 2);
    let last_first = opened.parts().iter().rev();
    let mut parts: Vec<_> = last_first.map(|part| opened.read(part).unwrap()).collect();
    parts.reverse();
    let read = opened.finish(parts, &|_| None).unwrap();
    assert!(read.entries().eq(state.entries()));
    assert_eq!(read.digest(), state.digest());
    assert_eq!(read.count(Kind::Tenant), 20_000);
    assert_eq!(checkpoint::encode(&read), bytes);
}

#[test]
fn a_document_that_strayed_from_its_tree_is_known_after_a_checkpoint() {
    let mut world = World::platform();
    let segment = |id: &str| vec![put(Kind::Segment, "", "s", json!({"include": [id]}))];
    world.give(Action::Apply, segment("a")).unwrap();
    let key = DocumentKey::new(Kind::Segment, "", "s").unwrap();
    let put_by_tree = world.state.managed(&key);
    assert_eq!(
        put_by_tree,
        world
            .state
            .entry(&key)
            .map(plane_state::Entry::content_digest)
    );
    world.write(segment("b")).unwrap();
    for state in [&world.state, &replay(&world, State::genesis("test"))] {
        let read = checkpoint::decode(&checkpoint::encode(state), &|digest| {
            world.store.blobs.get(digest).cloned()
        });
        for state in [state, &read.unwrap()] {
            assert_eq!(state.managed(&key), put_by_tree);
            assert_eq!(state.managed_keys().collect::<Vec<_>>(), [&key]);
        }
    }
    world.give(Action::Apply, segment("c")).unwrap();
    assert_ne!(world.state.managed(&key), put_by_tree);
    world.write(vec![delete(Kind::Segment, "", "s")]).unwrap();
    assert!(world.state.managed(&key).is_some());
}
