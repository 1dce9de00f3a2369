use plane_model::{EnvironmentName, PrincipalId, Timestamp};

use super::*;

fn principal(name: &str) -> PrincipalId {
    PrincipalId::new(name).unwrap()
}

fn production() -> EnvironmentName {
    EnvironmentName::new("production").unwrap()
}

fn on(flag: &str) -> Given<'_> {
    Given {
        flag: Some(flag),
        variant: "on",
        reason: Reason::Static,
    }
}

/// Counts an evaluation that somebody asked for at a time.
fn count(evaluations: &Evaluations, who: &str, at: i64, evaluated: Given<'_>) {
    let (principal, environment) = (principal(who), production());
    let asker = Asker {
        principal: &principal,
        environment: &environment,
        at: Timestamp(at),
    };
    evaluations.count(Some(&asker), [evaluated]);
}

fn total(evaluations: &Evaluations, labels: (&str, &str, &'static str)) -> u64 {
    let labels = Labels {
        flag: labels.0.to_owned(),
        variant: labels.1.to_owned(),
        reason: labels.2,
    };
    evaluations.family.get_or_create(&labels).get()
}

#[test]
fn what_is_taken_is_by_who_asked_and_is_taken_once() {
    let evaluations = Evaluations::default();
    for at in 1..=3 {
        count(&evaluations, "orders", at, on("checkout"));
    }
    count(&evaluations, "billing", 9, on("checkout"));
    let mut taken = evaluations.take_served();
    taken.sort_by_key(|it| it.last_at);
    let told: Vec<_> = (taken.iter())
        .map(|it| (it.principal.as_str(), it.count, it.last_at.0, &*it.variant))
        .collect();
    assert_eq!(told, [("orders", 3, 3, "on"), ("billing", 1, 9, "on")]);
    assert!(evaluations.take_served().is_empty());
    count(&evaluations, "billing", 10, on("checkout"));
    assert_eq!(evaluations.take_served().len(), 1);
    assert_eq!(total(&evaluations, ("checkout", "on", "static")), 5);
}

#[test]
fn flags_that_do_not_exist_are_counted_as_one_and_by_nobody() {
    let evaluations = Evaluations::default();
    for flag in ["a", "b"] {
        let gone = Given {
            flag: None,
            variant: flag,
            reason: Reason::Error,
        };
        count(&evaluations, "orders", 1, gone);
    }
    assert_eq!(total(&evaluations, (OTHER, "", "error")), 2);
    assert!(evaluations.take_served().is_empty());
}

#[test]
fn of_many_who_ask_only_so_many_are_told_apart_until_they_are_taken() {
    let evaluations = Evaluations::default();
    for number in 0..1_100 {
        let who = format!("service-{number}");
        for _ in 0..2 {
            count(&evaluations, &who, 1, on("checkout"));
        }
    }
    let taken = evaluations.take_served();
    assert_eq!(taken.len(), 1_024);
    assert!(taken.iter().all(|it| it.count == 2));
    assert_eq!(total(&evaluations, ("checkout", "on", "static")), 2_200);
    count(&evaluations, "service-1099", 1, on("checkout"));
    assert_eq!(evaluations.take_served().len(), 1);
}

#[test]
fn flags_beyond_those_with_labels_are_still_told_apart_by_who_asked() {
    let evaluations = Evaluations::default();
    let flags: Vec<_> = (0..=LABELLED_MAX).map(|it| format!("f{it}")).collect();
    for flag in &flags {
        count(&evaluations, "orders", 1, on(flag));
    }
    assert_eq!(total(&evaluations, (OTHER, "", "static")), 1);
    assert_eq!(evaluations.take_served().len(), LABELLED_MAX + 1);
}
