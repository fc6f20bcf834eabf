//! Bands along paths, by hand.

use proptest::prelude::*;

use super::*;

const BANDS: Bands = Bands {
    red_below: 50.0,
    green_from: 70.0,
    width: 2.5,
};

/// The band of each week, where each knows the weeks before it as far back as the program looks.
fn bands(scores: &[f64], limits: Bands) -> Vec<Band> {
    let scores: Vec<Micro> = scores.iter().map(|s| Micro::from_f64(*s)).collect();
    (0..scores.len())
        .map(|now| {
            let earlier = scores[..now].iter().rev().take(BAND_WEEKS as usize).copied();
            let mut before = Vec::new();
            for score in earlier {
                before.push(score);
                if settles(score, limits) {
                    break;
                }
            }
            held_band(scores[now], &before, limits)
        })
        .collect()
}

fn changes(bands: &[Band]) -> usize {
    bands.windows(2).filter(|pair| pair[0] != pair[1]).count()
}

#[test]
fn a_score_that_wobbles_about_a_limit_changes_its_band_once() {
    // Green for long, then a year about the limit.
    let mut scores = vec![85.0, 80.0, 76.0];
    scores.extend((0..52).map(|week| if week % 2 == 0 { 69.0 } else { 71.5 }));
    let alone = Bands { width: 0.0, ..BANDS };
    assert_eq!(changes(&bands(&scores, alone)), 52, "without the width it flickers");
    let held = bands(&scores, BANDS);
    assert_eq!(changes(&held), 1, "{held:?}");
    assert_eq!((held[3], held[54]), (Band::Green, Band::Yellow));
    // The same from below changes nothing.
    let mut rising = vec![60.0, 62.0];
    rising.extend((0..52).map(|week| if week % 2 == 0 { 69.0 } else { 71.5 }));
    assert_eq!(changes(&bands(&rising, BANDS)), 0);
}

#[test]
fn a_real_fall_or_rise_changes_the_band_at_once() {
    assert_eq!(
        bands(&[80.0, 66.0, 44.0, 53.0, 73.0], BANDS),
        [Band::Green, Band::Yellow, Band::Red, Band::Yellow, Band::Green]
    );
    // Right at the limits of the two thresholds.
    assert_eq!(
        bands(&[80.0, 67.5, 67.4], BANDS),
        [Band::Green, Band::Green, Band::Yellow]
    );
    assert_eq!(bands(&[40.0, 52.4, 52.5], BANDS), [Band::Red, Band::Red, Band::Yellow]);
    assert_eq!(
        bands(&[60.0, 47.5, 47.4], BANDS),
        [Band::Yellow, Band::Yellow, Band::Red]
    );
    assert_eq!(
        bands(&[60.0, 72.4, 72.5], BANDS),
        [Band::Yellow, Band::Yellow, Band::Green]
    );
    // From green straight into the lower wobble: yellow, because red was not reached.
    assert_eq!(bands(&[80.0, 49.0], BANDS), [Band::Green, Band::Yellow]);
}

#[test]
fn where_nothing_settles_it_the_lower_band_counts() {
    let band = |score: f64| held_band(Micro::from_f64(score), &[], BANDS);
    assert_eq!(
        [band(47.4), band(52.4), band(52.5), band(72.4), band(72.5)],
        [Band::Red, Band::Red, Band::Yellow, Band::Yellow, Band::Green]
    );
}

proptest! {
    #[test]
    fn a_value_that_settles_makes_everything_before_it_without_effect(
        before in prop::collection::vec(0_i64..100_000_000, 0..6),
        settled in 0_i64..100_000_000,
        after in prop::collection::vec(0_i64..100_000_000, 1..6),
    ) {
        let settled = Micro(settled);
        prop_assume!(settles(settled, BANDS));
        let after: Vec<Micro> = after.into_iter().map(Micro).collect();
        let mut short = after[1..].to_vec();
        short.push(settled);
        let mut long = short.clone();
        long.extend(before.into_iter().map(Micro));
        prop_assert_eq!(held_band(after[0], &short, BANDS), held_band(after[0], &long, BANDS));
        prop_assert_eq!(held_band(settled, &short, BANDS), held_band(settled, &[], BANDS));
    }

    #[test]
    fn with_a_width_of_zero_the_path_says_nothing(score in 0_i64..100_000_000, before in prop::collection::vec(0_i64..100_000_000, 0..6)) {
        let limits = Bands { width: 0.0, ..BANDS };
        let before: Vec<Micro> = before.into_iter().map(Micro).collect();
        prop_assert_eq!(held_band(Micro(score), &before, limits), crate::score::band_of(Micro(score), limits));
        prop_assert!(settles(Micro(score), limits));
    }
}
