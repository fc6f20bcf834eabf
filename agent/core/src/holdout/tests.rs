use proptest::prelude::*;

use super::*;

fn unit(id: &str, segment: &str, due_days: Option<i64>, arr: i64) -> Unit {
    Unit {
        account: AccountId::new(id),
        segment: segment.to_owned(),
        due_days,
        arr_minor: arr * 100,
    }
}

/// A book in three segments and all windows, with revenue that spreads.
fn book(count: usize) -> Vec<Unit> {
    let mut draws = Stream::new(5, &["book"]);
    (0..count)
        .map(|i| {
            let segment = ["ENT", "MM", "SMB"][i % 3];
            let due = (i % 7 != 0).then(|| draws.below(500) as i64);
            unit(&format!("a{i:04}"), segment, due, 1_000 + draws.below(90_000) as i64)
        })
        .collect()
}

fn fifth() -> Share {
    Share::percent(20).unwrap()
}

#[test]
fn windows_end_after_13_26_and_52_weeks() {
    let of = |days| DueWindow::of(Some(days)).as_str();
    assert_eq!([of(-3), of(91), of(92), of(182)], ["13w", "13w", "26w", "26w"]);
    assert_eq!([of(183), of(364), of(365)], ["52w", "52w", "later"]);
    assert_eq!(DueWindow::of(None).as_str(), "unknown");
}

#[test]
fn one_of_every_block_of_neighbours_is_held_out() {
    for percent in [50, 20] {
        let share = Share::percent(percent).unwrap();
        let units = book(1_000);
        let places = assign(&units, &Places::new(), share, 42).unwrap();
        let mut strata: BTreeMap<(&str, DueWindow), Vec<&Unit>> = BTreeMap::new();
        for u in &units {
            strata.entry(u.stratum()).or_default().push(u);
        }
        for members in strata.values_mut() {
            members.sort_by_key(|u| (std::cmp::Reverse(u.arr_minor), u.account.clone()));
            for block in members.chunks_exact(share.block()) {
                let held = block.iter().filter(|u| places[&u.account].arm == Arm::Holdout).count();
                assert_eq!(held, 1);
            }
        }
    }
}

#[test]
fn another_seed_is_another_assignment_with_another_hash() {
    let units = book(300);
    let one = assign(&units, &Places::new(), fifth(), 1).unwrap();
    let two = assign(&units, &Places::new(), fifth(), 2).unwrap();
    assert_ne!(one, two);
    assert_ne!(hash(&one), hash(&two));
    let mut moved = one.clone();
    let first = moved.values_mut().next().unwrap();
    first.arm = if first.arm == Arm::Engine {
        Arm::Holdout
    } else {
        Arm::Engine
    };
    assert_ne!(hash(&one), hash(&moved));
}

#[test]
fn every_unit_has_the_same_chance_also_in_a_block_that_is_not_full() {
    // Seven units in one stratum: a full block of five and a rest of two.
    let units: Vec<Unit> = (0..7).map(|i| unit(&format!("a{i}"), "SMB", None, 100 - i)).collect();
    let mut held = BTreeMap::new();
    for seed in 0..4_000 {
        for (account, place) in assign(&units, &Places::new(), fifth(), seed).unwrap() {
            *held.entry(account).or_insert(0) += i32::from(place.arm == Arm::Holdout);
        }
    }
    // 800 expected each, with a standard deviation of 25.
    assert!(held.values().all(|n| (690..910).contains(n)), "{held:?}");
}

#[test]
fn later_accounts_form_a_later_cohort_and_nobody_moves() {
    let all = book(400);
    let first = assign(&all[..300], &Places::new(), fifth(), 9).unwrap();
    let later = assign(&all, &first, fifth(), 9).unwrap();
    assert_eq!(later.len(), 100);
    assert!(later.keys().all(|id| !first.contains_key(id)));
    assert!(first.values().all(|p| p.cohort == 1) && later.values().all(|p| p.cohort == 2));
    let mut both = first;
    both.extend(later);
    assert_eq!(assign(&all, &both, fifth(), 9), Err(HoldoutError::Nobody));
}

#[test]
fn a_unit_keeps_its_arm_when_its_facts_change() {
    let mut units = book(200);
    let first = assign(&units, &Places::new(), fifth(), 3).unwrap();
    for u in &mut units {
        u.arr_minor *= 7;
        u.segment = "ENT".to_owned();
    }
    units.push(unit("new", "ENT", None, 5));
    let later = assign(&units, &first, fifth(), 3).unwrap();
    assert_eq!(later.into_keys().collect::<Vec<_>>(), [AccountId::new("new")]);
}

#[test]
fn shares_that_no_block_gives_and_doubled_units_are_refused() {
    for percent in [0, 3, 30, 60, 100] {
        assert_eq!(Share::percent(percent), Err(HoldoutError::Share(percent)));
    }
    let twice = [unit("a", "SMB", None, 1), unit("a", "ENT", None, 1)];
    let refused = assign(&twice, &Places::new(), fifth(), 1);
    assert_eq!(refused, Err(HoldoutError::Twice(AccountId::new("a"))));
    assert_eq!(assign(&[], &Places::new(), fifth(), 1), Err(HoldoutError::Nobody));
}

proptest! {
    #[test]
    fn the_order_of_the_input_changes_nothing(order in Just((0..60).collect::<Vec<usize>>()).prop_shuffle(), seed: u64) {
        let units = book(60);
        let mut shuffled: Vec<Unit> = order.into_iter().map(|i| units[i].clone()).collect();
        shuffled.push(shuffled[0].clone());
        prop_assert_eq!(
            assign(&units, &Places::new(), fifth(), seed),
            assign(&shuffled, &Places::new(), fifth(), seed)
        );
    }
}

#[test]
fn blocks_make_the_arms_alike() {
    let units = book(1_000);
    let half = Share::percent(50).unwrap();
    for seed in 0..20 {
        let places = assign(&units, &Places::new(), half, seed).unwrap();
        for line in balance(&units, &places) {
            let difference = line.difference.unwrap();
            assert!(difference.abs() < 0.1, "{} {difference}", line.what);
        }
        assert!(sample_ratio(&places, half).unwrap().p > 0.5);
    }
}

#[test]
fn a_standardised_difference_is_in_units_of_the_pooled_deviation() {
    // Means 3 and 5, variances 1 and 4: -2 / sqrt(2.5).
    let found = standardised(&[2.0, 3.0, 4.0], &[3.0, 5.0, 7.0]).unwrap();
    assert!((found + 2.0 / libm::sqrt(2.5)).abs() < 1e-12);
    assert_eq!(standardised(&[1.0, 1.0], &[1.0, 1.0]), Err(NoDifference::NoVariance));
    assert_eq!(standardised(&[1.0], &[1.0, 2.0]), Err(NoDifference::TooFew));
    assert_eq!(standardised(&[], &[1.0, 2.0]), Err(NoDifference::TooFew));
}

#[test]
fn lost_units_show_in_the_sample_ratio() {
    let place = |arm| Place { arm, cohort: 1 };
    let ratio = |engine: usize, held: usize| {
        let arms = std::iter::repeat_n(Arm::Engine, engine).chain(std::iter::repeat_n(Arm::Holdout, held));
        let places = arms
            .enumerate()
            .map(|(i, arm)| (AccountId::new(format!("{i}")), place(arm)));
        sample_ratio(&places.collect(), Share::percent(50).unwrap())
    };
    let even = ratio(50, 50).unwrap();
    assert_eq!((even.chi_square, even.p), (0.0, 1.0));
    // (60 - 50)²/50 + (40 - 50)²/50 = 4, and P(chi-square with 1 df > 4) = .0455.
    let odd = ratio(60, 40).unwrap();
    assert!(
        (odd.chi_square - 4.0).abs() < 1e-12 && (odd.p - 0.0455).abs() < 5e-5,
        "{odd:?}"
    );
    assert_eq!(ratio(0, 0), None);
}
