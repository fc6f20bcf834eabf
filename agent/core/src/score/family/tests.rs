//! Families by hand.

use proptest::prelude::*;

use super::*;

const BANDS: Bands = Bands {
    red_below: 50.0,
    green_from: 70.0,
    width: 2.5,
};

fn member(id: &str, parent: Option<&str>, arr_minor: Option<i64>, health: Option<i64>) -> FamilyMember {
    FamilyMember {
        account: AccountId::new(id),
        parent: parent.map(AccountId::new),
        arr_minor,
        health_micro: health.map(Micro::whole),
        churned: false,
    }
}

fn terms(roll_up: RollUp, unknown_below: f64) -> FamilyTerms {
    FamilyTerms { roll_up, unknown_below }
}

/// P with a, b and c, and below b once more d.
fn three_levels() -> Vec<FamilyMember> {
    vec![
        member("P", None, Some(10_000), Some(80)),
        member("a", Some("P"), Some(30_000), Some(40)),
        member("b", Some("P"), Some(40_000), Some(90)),
        member("c", Some("P"), Some(15_000), None),
        member("d", Some("b"), Some(5_000), Some(20)),
        member("alone", None, Some(99_000), Some(10)),
    ]
}

fn of(members: &[FamilyMember], head: &str, terms: FamilyTerms) -> Family {
    FamilyTree::of(members)
        .family(&AccountId::new(head), &terms, BANDS)
        .expect("a family")
}

#[test]
fn mean_worst_and_weighted_by_revenue_are_as_computed_by_hand() {
    let members = three_levels();
    // (80 + 40 + 90 + 20) / 4
    let mean = of(&members, "P", terms(RollUp::Mean, 50.0));
    assert_eq!(
        (mean.score_micro, mean.band),
        (Some(Micro(57_500_000)), Some(Band::Yellow))
    );
    // (80 * 10 + 40 * 30 + 90 * 40 + 20 * 5) / 85 = 5700 / 85
    let weighted = of(&members, "P", terms(RollUp::ArrWeighted, 50.0));
    let score = weighted.score_micro.expect("a score").to_f64();
    assert!((score - 5700.0 / 85.0).abs() < 1e-5, "{score}");
    let added: Vec<(&str, f64)> = weighted
        .parts
        .iter()
        .map(|p| (p.account.as_str(), p.adds_micro.to_f64()))
        .collect();
    assert_eq!(added[0], ("b", 42.352_941));
    assert_eq!(added[4], ("c", 0.0));
    let worst = of(&members, "P", terms(RollUp::Worst, 50.0));
    assert_eq!(
        (worst.score_micro, worst.band),
        (Some(Micro::whole(20)), Some(Band::Red))
    );
    assert_eq!(worst.parts[0].account.as_str(), "d");
    // 85 of 100 of the revenue, four accounts of five.
    let coverage = FamilyCoverage {
        accounts: 5,
        known: 4,
        churned: 0,
        arr_minor: Some(100_000),
        arr_known_minor: Some(85_000),
        share_micro: Micro(850_000),
    };
    assert_eq!(mean.coverage, coverage);
}

#[test]
fn an_account_in_the_middle_has_its_own_family_and_only_the_top_is_a_head() {
    let members = three_levels();
    let tree = FamilyTree::of(&members);
    let heads: Vec<&str> = tree.heads().map(AccountId::as_str).collect();
    assert_eq!(heads, ["P"]);
    let b = of(&members, "b", terms(RollUp::Mean, 50.0));
    assert_eq!(b.score_micro, Some(Micro::whole(55)));
    assert!(b.parts.iter().all(|p| p.account.as_str() != "b" || p.parent.is_none()));
    assert_eq!(tree.above(&AccountId::new("b")).map(AccountId::as_str), Some("P"));
    let alone = AccountId::new("alone");
    assert!(tree.family(&alone, &terms(RollUp::Mean, 50.0), BANDS).is_none());
    assert!(tree.faults().is_empty());
}

#[test]
fn too_little_known_gives_no_score_and_says_how_much_is_needed() {
    let members = three_levels();
    let strict = of(&members, "P", terms(RollUp::Mean, 90.0));
    assert_eq!((strict.score_micro, strict.band), (None, None));
    let missing = strict.missing.expect("a reason");
    assert_eq!(
        missing,
        "the health of more of its accounts: 85 % is known, 90 % is needed"
    );
    // At the limit it is enough.
    assert!(of(&members, "P", terms(RollUp::Mean, 85.0)).score_micro.is_some());
    let unknown: Vec<FamilyMember> = members
        .iter()
        .map(|m| FamilyMember {
            health_micro: None,
            ..m.clone()
        })
        .collect();
    let missing = of(&unknown, "P", terms(RollUp::Worst, 0.0)).missing.expect("a reason");
    assert_eq!(missing, "the health of any of its accounts");
}

#[test]
fn a_revenue_that_is_not_known_is_never_zero() {
    let mut members = three_levels();
    members[3].arr_minor = None;
    // Only that of an account without health: the weights are known, the coverage is counted in accounts.
    let family = of(&members, "P", terms(RollUp::ArrWeighted, 50.0));
    assert!(family.score_micro.is_some());
    assert_eq!(family.coverage.arr_minor, None);
    assert_eq!(family.coverage.arr_known_minor, Some(85_000));
    assert_eq!(family.coverage.share_micro, Micro(800_000));
    members[1].arr_minor = None;
    let family = of(&members, "P", terms(RollUp::ArrWeighted, 50.0));
    assert_eq!(family.missing.as_deref(), Some("the yearly revenue of its parts"));
    assert_eq!(family.coverage.arr_known_minor, None);
    assert!(of(&members, "P", terms(RollUp::Mean, 50.0)).score_micro.is_some());
}

#[test]
fn who_has_left_belongs_to_the_family_and_counts_in_no_number() {
    let mut members = three_levels();
    members[4].churned = true;
    let family = of(&members, "P", terms(RollUp::Worst, 50.0));
    assert_eq!(family.score_micro, Some(Micro::whole(40)));
    assert_eq!((family.coverage.accounts, family.coverage.churned), (4, 1));
    assert!(family.parts.iter().any(|p| p.account.as_str() == "d" && p.churned));
}

#[test]
fn circles_and_missing_parents_are_reported_and_not_followed() {
    let mut members = three_levels();
    members.extend([
        member("x", Some("z"), Some(1), Some(1)),
        member("y", Some("x"), Some(1), Some(1)),
        member("z", Some("y"), Some(1), Some(1)),
        member("below", Some("x"), Some(1), Some(1)),
        member("deeper", Some("below"), Some(1), Some(1)),
        member("self", Some("self"), Some(1), Some(1)),
        member("orphan", Some("nobody"), Some(1), Some(30)),
        member("child", Some("orphan"), Some(1), Some(50)),
    ]);
    let tree = FamilyTree::of(&members);
    let faults: Vec<(&str, FamilyFaultKind)> = tree.faults().iter().map(|f| (f.account.as_str(), f.kind)).collect();
    assert_eq!(
        faults,
        [
            ("below", FamilyFaultKind::BelowCircle),
            ("deeper", FamilyFaultKind::BelowCircle),
            ("orphan", FamilyFaultKind::ParentMissing),
            ("self", FamilyFaultKind::Circle),
            ("x", FamilyFaultKind::Circle),
            ("y", FamilyFaultKind::Circle),
            ("z", FamilyFaultKind::Circle),
        ]
    );
    assert_eq!(tree.heads().map(AccountId::as_str).collect::<Vec<_>>(), ["P", "orphan"]);
    for lost in ["x", "below", "self"] {
        let head = AccountId::new(lost);
        assert!(tree.family(&head, &terms(RollUp::Mean, 0.0), BANDS).is_none(), "{lost}");
    }
    assert_eq!(
        of(&members, "orphan", terms(RollUp::Mean, 0.0)).score_micro,
        Some(Micro::whole(40))
    );
}

/// Any links at all, also to accounts that are not there.
fn any_book() -> impl Strategy<Value = Vec<FamilyMember>> {
    let one = (
        prop::option::of(0_u32..14),
        prop::option::of(0_i64..1_000_000),
        prop::option::of(0_i64..100_000_000),
        any::<bool>(),
    );
    prop::collection::vec(one, 1..12).prop_map(|rows| {
        let book = rows.into_iter().enumerate();
        book.map(|(at, (parent, arr_minor, health, churned))| FamilyMember {
            account: AccountId::new(format!("n{at:02}")),
            parent: parent.map(|p| AccountId::new(format!("n{p:02}"))),
            arr_minor,
            health_micro: health.map(Micro),
            churned,
        })
        .collect()
    })
}

proptest! {
    #[test]
    fn contributions_sum_to_the_score_and_the_order_of_the_input_changes_nothing(members in any_book(), roll_up in 0_usize..3) {
        let terms = terms(RollUp::ALL[roll_up], 0.0);
        let tree = FamilyTree::of(&members);
        let reversed: Vec<FamilyMember> = members.iter().rev().cloned().collect();
        let other = FamilyTree::of(&reversed);
        prop_assert_eq!(tree.faults(), other.faults());
        let mut seen = BTreeSet::new();
        for head in tree.heads() {
            let family = tree.family(head, &terms, BANDS).expect("a head has somebody below");
            let again = other.family(head, &terms, BANDS);
            prop_assert_eq!(Some(&family), again.as_ref());
            let sum: i64 = family.parts.iter().map(|p| p.adds_micro.0).sum();
            if let Some(score) = family.score_micro {
                prop_assert_eq!(score.0, sum);
                let known = family.parts.iter().filter(|p| !p.churned).filter_map(|p| p.health_micro);
                let (low, high) = (known.clone().min().expect("one"), known.max().expect("one"));
                prop_assert!((low.0 - 12..=high.0 + 12).contains(&score.0));
            }
            // Nobody is in two families of heads, and nobody of a family is lost in a circle.
            for part in &family.parts {
                prop_assert!(seen.insert(part.account.clone()));
                prop_assert!(!tree.faults().iter().any(|f| f.account == part.account && f.kind != FamilyFaultKind::ParentMissing));
            }
        }
    }
}
